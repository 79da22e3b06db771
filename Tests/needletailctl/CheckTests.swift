// The criteria of check perf, and the forms of its figures.

import Testing

@testable import needletailctl

@Suite struct CheckTests {
  private func report(_ count: Int, slowest: Double = 0.01, errors: [String: Int] = [:]) -> CheckReport {
    CheckReport(
      latencies: [Double](repeating: 0.01, count: count - 1) + [slowest], errors: errors, seconds: 10)
  }

  @Test func criteria() {
    #expect(report(1_500).show(rate: 150))
    #expect(report(1_351).show(rate: 150))
    #expect(!report(1_350).show(rate: 150), "nine tenths are not enough")
    #expect(!report(1_500, slowest: 0.51).show(rate: 150))
    #expect(report(1_500, slowest: 0.49).show(rate: 150))
    #expect(!report(1_500, errors: ["etcdserver: too many requests": 1]).show(rate: 150))
    let spread = (0..<1_500).map { $0 % 2 == 0 ? 0.01 : 0.25 }
    #expect(!CheckReport(latencies: spread, errors: [:], seconds: 10).show(rate: 150))
  }

  @Test func figures() {
    #expect(CheckReport.fixed(0.765173, 6) == "0.765173" && CheckReport.fixed(0.0443789, 6) == "0.044379")
    #expect(CheckReport.fixed(23.494, 2) == "23.49" && CheckReport.fixed(-0.5, 2) == "-0.50")
    #expect(CheckReport.fixed(0, 6) == "0.000000" && CheckReport.fixed(-0.001, 2) == "0.00")
  }

  /// etcdctl's workloads, by both of their names.
  @Test func workloads() {
    for (short, long, rate, clients, pairs) in [
      ("s", "small", 150, 50, 10_000), ("m", "medium", 1_000, 200, 100_000), ("l", "large", 8_000, 500, 1_000_000),
      ("xl", "xLarge", 15_000, 1_000, 3_000_000),
    ] {
      for name in [short, long] {
        let model = WorkloadModel(name)
        #expect(model.map { PerformanceWorkload($0).rate } == rate)
        #expect(model.map { PerformanceWorkload($0).clients } == clients)
        #expect(model.map { DatascaleWorkload($0).pairs } == pairs)
        #expect(model.map { DatascaleWorkload($0).clients } == clients)
      }
    }
    #expect(WorkloadModel("S") == nil)
  }
}
