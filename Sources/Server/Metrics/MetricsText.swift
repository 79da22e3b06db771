// Prometheus' text format, version 0.0.4.

package struct MetricsText {
  package private(set) var text = ""

  package init() {}

  package enum Kind: String {
    case counter
    case gauge
    case histogram
  }

  package mutating func begin(_ name: String, _ kind: Kind, _ help: String) {
    text += "# HELP \(name) \(help)\n# TYPE \(name) \(kind.rawValue)\n"
  }

  package mutating func sample(_ name: String, _ labels: String = "", _ value: UInt64) {
    text += labels.isEmpty ? "\(name) \(value)\n" : "\(name){\(labels)} \(value)\n"
  }

  package mutating func sample(_ name: String, _ labels: String = "", seconds: Double) {
    text += labels.isEmpty ? "\(name) \(seconds)\n" : "\(name){\(labels)} \(seconds)\n"
  }

  package mutating func sample(_ name: String, signed value: Int64) { text += "\(name) \(value)\n" }

  package mutating func single(_ name: String, _ kind: Kind, _ help: String, _ value: UInt64) {
    begin(name, kind, help)
    sample(name, "", value)
  }

  /// Bounds at powers of two of nanoseconds, which the buckets meet exactly: 2 µs to 17 s.
  package mutating func histogram(_ name: String, _ labels: String, _ sum: LatencySum) {
    let prefix = labels.isEmpty ? "" : labels + ","
    for exponent in 11...34 {
      let bound = Double(UInt64(1) << UInt64(exponent)) / 1e9
      sample("\(name)_bucket", "\(prefix)le=\"\(bound)\"", sum.count(belowPowerOfTwo: exponent))
    }
    sample("\(name)_bucket", "\(prefix)le=\"+Inf\"", sum.count)
    sample("\(name)_sum", labels, seconds: Double(sum.sum_ns) / 1e9)
    sample("\(name)_count", labels, sum.count)
  }
}
