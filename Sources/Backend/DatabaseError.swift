enum DatabaseErrorSeed {}
