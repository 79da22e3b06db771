enum WALErrorSeed {}
