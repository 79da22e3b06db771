// Durations as Go writes them: 300ms, 1.5h, 1h30m, 0.

struct GoDuration: Equatable, Comparable, Sendable {
  let nanoseconds: Int64

  init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

  init?(_ text: String) {
    var rest = Substring(text)
    var isNegative = false
    if let first = rest.first, first == "-" || first == "+" {
      isNegative = first == "-"
      rest = rest.dropFirst()
    }
    if rest == "0" {
      nanoseconds = 0
      return
    }
    guard !rest.isEmpty else { return nil }
    var total: Int64 = 0
    while !rest.isEmpty {
      guard let part = GoDuration.takePart(&rest) else { return nil }
      let (sum, overflows) = total.addingReportingOverflow(part)
      guard !overflows else { return nil }
      total = sum
    }
    nanoseconds = isNegative ? -total : total
  }

  /// A number, perhaps with a fraction, and its unit.
  private static func takePart(_ rest: inout Substring) -> Int64? {
    let digits = rest.prefix { $0.isASCII && $0.isNumber }
    rest = rest.dropFirst(digits.count)
    var fraction: Substring = ""
    if rest.first == "." {
      fraction = rest.dropFirst().prefix { $0.isASCII && $0.isNumber }
      rest = rest.dropFirst(1 + fraction.count)
    }
    guard !digits.isEmpty || !fraction.isEmpty, fraction.count <= 18 else { return nil }
    let unit = rest.prefix { $0.isLetter }
    rest = rest.dropFirst(unit.count)
    guard let scale = scale(of: unit), let whole = Int64(digits.isEmpty ? "0" : digits) else { return nil }
    let (nanoseconds, overflows) = whole.multipliedReportingOverflow(by: scale)
    guard !overflows else { return nil }
    guard !fraction.isEmpty, let part = Double("0." + fraction) else { return nanoseconds }
    let (sum, carries) = nanoseconds.addingReportingOverflow(Int64(part * Double(scale)))
    return carries ? nil : sum
  }

  private static func scale(of unit: Substring) -> Int64? {
    switch unit {
    case "h": 3_600_000_000_000
    case "m": 60_000_000_000
    case "s": 1_000_000_000
    case "ms": 1_000_000
    case "us", "µs", "μs": 1_000
    case "ns": 1
    default: nil
    }
  }

  static func < (a: GoDuration, b: GoDuration) -> Bool { a.nanoseconds < b.nanoseconds }

  /// Rounded up: what is not nothing stays something.
  var milliseconds: Int64 { nanoseconds / 1_000_000 + (nanoseconds % 1_000_000 > 0 ? 1 : 0) }
}
