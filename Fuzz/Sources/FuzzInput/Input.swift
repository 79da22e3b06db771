// What all targets have in common: the fuzzer's bytes taken one after another, and its loop.
import CFuzzer
import Glibc

/// Bytes taken one after another; zeros when there are no more.
package struct Input {
  private let bytes: UnsafeRawBufferPointer
  private var at = 0

  package init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  package var isEmpty: Bool { at >= bytes.count }

  package mutating func byte() -> UInt8 {
    defer { at += 1 }
    return at < bytes.count ? bytes[at] : 0
  }

  package mutating func bool() -> Bool { byte() & 1 == 1 }

  /// Of `count` bytes, the highest first.
  package mutating func number(_ count: Int) -> UInt64 {
    (0..<count).reduce(0) { value, _ in value << 8 | UInt64(byte()) }
  }

  package mutating func take(_ count: Int) -> [UInt8] { (0..<count).map { _ in byte() } }

  package mutating func rest() -> [UInt8] {
    defer { at = bytes.count }
    return at < bytes.count ? Array(bytes[at...]) : []
  }
}

/// Runs libFuzzer with the program's arguments until it has enough, or has found something.
package func runFuzzer(_ attack: @escaping @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32) -> Never {
  var count = CommandLine.argc
  var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv
  exit(LLVMFuzzerRunDriver(&count, &arguments, attack))
}
