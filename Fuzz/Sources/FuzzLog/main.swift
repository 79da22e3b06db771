import FuzzInput

runFuzzer { data, size in
  attack(UnsafeRawBufferPointer(start: data, count: size))
  return 0
}
