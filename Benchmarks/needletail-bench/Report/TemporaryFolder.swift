// Where the measured stores lie: gigabytes at the larger sizes, so they go away however the benchmark ends.
import Dispatch
import Foundation

/// A new folder that goes away with everything in it, on an interrupt too.
final class TemporaryFolder {
  let path: String
  private var interrupts: [any DispatchSourceSignal] = []

  init(in parent: String?) throws {
    let base = parent ?? ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp"
    try FileManager.default.createDirectory(atPath: base, withIntermediateDirectories: true)
    path = base + "/needletail-bench-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    let path = path
    for number in [SIGINT, SIGTERM] {
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler {
        try? FileManager.default.removeItem(atPath: path)
        _exit(128 + number)
      }
      source.resume()
      interrupts.append(source)
    }
  }

  func remove() { try? FileManager.default.removeItem(atPath: path) }
}
