// How much memory this process may fill: the machine's, or less where its control group says so. The page cache that its reads
// fill counts towards that.

import Glibc
import Synchronization

enum MemoryLimit {
  /// As it was when first asked.
  static let bytes: UInt64 = min(physical, controlGroup ?? .max)

  /// A file beyond this does not stay in memory: reads ask the disk for just the pages they need. Tests set it lower.
  static let large = Atomic<UInt64>(bytes / 4 * 3)

  static func isExceeded(by size: UInt64) -> Bool { size > large.load(ordering: .relaxed) }

  private static let physical =
    UInt64(max(0, sysconf(Int32(_SC_PHYS_PAGES)))) * UInt64(max(0, sysconf(Int32(_SC_PAGESIZE))))

  /// The smallest limit on the way from the process's group to the root.
  private static var controlGroup: UInt64? {
    text("/proc/self/cgroup").flatMap {
      smallest(groups: $0) { text($0).flatMap { UInt64($0.filter { $0 != "\n" }) } }
    }
  }

  /// `groups`: what /proc/self/cgroup says, version 2 ("0::/path") or 1 ("4:memory:/path"). `limit`: the number in a file; nil
  /// where there is no such file, or it says "max".
  static func smallest(groups: String, _ limit: (String) -> UInt64?) -> UInt64? {
    var found: UInt64?
    for line in groups.split(separator: "\n") {
      let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard parts.count == 3 else { continue }
      let isUnified = parts[1].isEmpty
      guard isUnified || parts[1].split(separator: ",").contains("memory") else { continue }
      let root = isUnified ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory"
      let name = isUnified ? "memory.max" : "memory.limit_in_bytes"
      var path = parts[2].split(separator: "/")
      while true {
        let file = ([root] + path.map(String.init) + [name]).joined(separator: "/")
        if let bytes = limit(file) { found = min(bytes, found ?? .max) }
        if path.popLast() == nil { break }
      }
    }
    return found
  }

  /// A short file.
  private static func text(_ path: String) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 8192)
    let count = read(descriptor, &bytes, bytes.count)
    return count > 0 ? String(decoding: bytes[..<count], as: UTF8.self) : nil
  }
}
