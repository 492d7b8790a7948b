"""From raw text to noisy/clean pairs: files, cleaning, words, noise, the prepared data set."""
