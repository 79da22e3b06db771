// Memory that the machine really has. A virtual machine may give free memory back to its host in pieces of 2 MiB, and pay
// for the first touch of each with milliseconds (8 ms measured, ten times the cost of writing it). That is the price of whoever
// comes first to that piece, and says nothing about engines: so before a writing test as much memory as the test may take
// is touched and freed again.
import Foundation

enum WarmMemory {
  /// Touches `bytes` of free memory, at most half of what is there, and frees them.
  static func touch(bytes: Int) {
    let length = min(bytes, available() / 2) & ~((2 << 20) - 1)
    guard length > 0 else { return }
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    guard let memory = mmap(nil, length, PROT_READ | PROT_WRITE, flags, -1, 0), memory != MAP_FAILED else { return }
    madvise(memory, length, 14)  // MADV_HUGEPAGE
    for offset in stride(from: 0, to: length, by: 4096) {
      memory.storeBytes(of: 1, toByteOffset: offset, as: UInt8.self)
    }
    munmap(memory, length)
  }

  private static func available() -> Int {
    let text = (try? String(contentsOfFile: "/proc/meminfo", encoding: .utf8)) ?? ""
    for line in text.split(separator: "\n") where line.hasPrefix("MemAvailable:") {
      return (line.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) << 10
    }
    return 0
  }
}
