"""Why a case flipped, from stored fields alone."""
