import Testing

@testable import NeedletailRaft

/// Random clusters under a bad network, with crashes and membership changes.
@Suite struct ClusterTests {
  @Test func randomClusters() throws {
    var (applied, reads, leaderless) = (0, 0, 0)
    let all = seeds(400)
    for seed in all {
      let cluster = try Cluster(seed: seed)
      do { try cluster.run(steps: 2000) } catch {
        if cluster.traces { print(cluster.trace.suffix(400).joined(separator: "\n")) }
        Issue.record("seed \(seed): \(error)")
        return
      }
      applied += cluster.oracle.applied.count
      reads += cluster.oracle.readsFinished
      if cluster.oracle.applied.isEmpty { leaderless += 1 }
    }
    // A run in which nothing happens proves nothing.
    #expect(leaderless == 0)
    #expect(applied > all.count * 10)
    #expect(reads > all.count)
    print("clusters: \(all.count) seeds, \(applied) entries applied, \(reads) reads")
  }

  @Test func sameSeedSameRun() throws {
    for seed in seeds(10).prefix(10) {
      let runs = try (0..<2).map { _ in
        let cluster = try Cluster(seed: seed)
        try cluster.run(steps: 1000)
        return cluster.oracle.applied.sorted { $0.key < $1.key }.map(\.value)
      }
      #expect(runs[0] == runs[1])
    }
  }
}
