// What a figure holds for: the machine, its kernel, the commit and the compiler. The first line of every result.
import Foundation

enum Machine {
  static func describe(suite: String, directory: String) -> JSONLine {
    var line = JSONLine()
    line.add("suite", suite)
    line.add("date", ISO8601DateFormatter().string(from: Date()))
    line.add("cpu", field("/proc/cpuinfo", "model name") ?? field("/proc/cpuinfo", "CPU part") ?? "unknown")
    line.add("cores", ProcessInfo.processInfo.activeProcessorCount)
    line.add("memory_bytes", Int(ProcessInfo.processInfo.physicalMemory))
    line.add("kernel", contents("/proc/sys/kernel/osrelease") ?? "unknown")
    line.add("filesystem", output("stat", ["-f", "-c", "%T", directory]) ?? "unknown")
    line.add("huge_pages", contents("/sys/kernel/mm/transparent_hugepage/enabled") ?? "unknown")
    line.add("commit", commit())
    line.add("compiler", output("swift", ["--version"])?.split(separator: "\n").first.map(String.init) ?? "unknown")
    #if DEBUG
      line.add("build", "debug")
    #else
      line.add("build", "release")
    #endif
    line.add("load_average", contents("/proc/loadavg") ?? "unknown")
    return line
  }

  private static func commit() -> String {
    guard let revision = output("git", ["rev-parse", "--short=12", "HEAD"]) else { return "unknown" }
    let changed = output("git", ["status", "--porcelain", "--untracked-files=no"]) ?? ""
    return changed.isEmpty ? revision : revision + " with changes"
  }

  private static func contents(_ path: String) -> String? {
    (try? String(contentsOfFile: path, encoding: .utf8))?.trimmingCharacters(in: .whitespacesAndNewlines)
  }

  private static func field(_ path: String, _ name: String) -> String? {
    for line in (contents(path) ?? "").split(separator: "\n") where line.hasPrefix(name) {
      if let colon = line.firstIndex(of: ":") {
        return line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
      }
    }
    return nil
  }

  /// Standard output of a program, or `nil` when it cannot run, fails or prints nothing.
  private static func output(_ program: String, _ arguments: [String]) -> String? {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [program] + arguments
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = FileHandle.nullDevice
    guard (try? process.run()) != nil else { return nil }
    let data = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { return nil }
    let text = String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    return text.isEmpty ? nil : text
  }
}
