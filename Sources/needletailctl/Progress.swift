// How far a long command is, on standard error: a bar on a terminal, a plain line now and then elsewhere.

import NeedletailClient

struct Progress {
  private var startedAt = Instant.now
  private var startLines: UInt64 = 0
  private var startPosition: Int64 = 0
  private var nextAt = Instant.never
  private var calls = 0
  private let isTerminal = StandardError.isTerminal

  mutating func begin(_ lines: UInt64, _ file: InputFile) {
    startedAt = .now
    startLines = lines
    startPosition = file.position
    nextAt = startedAt + interval
  }

  /// Called for every line; looks at the clock only now and then.
  mutating func update(_ lines: UInt64, _ file: InputFile) {
    calls += 1
    guard calls % 64 == 0 else { return }
    let now = Instant.now
    guard now >= nextAt else { return }
    nextAt = now + interval
    show(lines, file, now)
  }

  mutating func finish(_ lines: UInt64, _ file: InputFile) {
    guard isTerminal else { return }
    show(lines, file, .now)
    StandardError.write("\n")
  }

  private var interval: Duration { isTerminal ? .milliseconds(100) : .seconds(2) }

  private func show(_ lines: UInt64, _ file: InputFile, _ now: Instant) {
    let seconds = max(1e-9, Double((now - startedAt).wholeNanoseconds) / 1e9)
    let rate = Int64(Double(lines - startLines) / seconds)
    let bytes = SizeText.format(file.position)
    guard let size = file.size, size > 0 else {
      return write("\(lines) lines, \(bytes), \(rate) lines/s")
    }
    let percent = Int(min(100, file.position * 100 / size))
    let bar = String(repeating: "#", count: percent / 4) + String(repeating: ".", count: 25 - percent / 4)
    let amount = "\(percent)% of \(SizeText.format(size)), \(lines) lines, \(rate) lines/s"
    write(isTerminal ? "[\(bar)] \(amount)" : amount)
  }

  private func write(_ text: String) {
    // A shorter text leaves nothing of a longer one before it.
    StandardError.write(isTerminal ? "\r\(text)\u{1B}[K" : text + "\n")
  }
}
