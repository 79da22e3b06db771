enum MVCCErrorSeed {}
