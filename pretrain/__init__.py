"""The bundled GPT pretrainer: shards in, checkpoints out. Importing it imports no torch; its modules do."""
