// The simulator's own parts: time, network, and the command codec.
import Testing

@testable import NeedletailClusterSimulator
@testable import NeedletailSimulator

@Suite struct KernelTests {
  @Test func eventsComeByTimeThenInOrder() {
    for seed in 1...50 as ClosedRange<UInt64> {
      var random = SimulatedRandom(seed)
      var queue = EventQueue<Int>()
      var expected: [(time: Int64, number: Int)] = []
      var taken: [Int] = []
      var number = 0
      while number < 300 || !queue.isEmpty {
        if number < 300, random.chance(perMille: 600) {
          let delay = random.between(0...20)
          expected.append((queue.now_ns + delay, number))
          queue.add(number, after: delay)
          number += 1
        } else if let event = queue.next() {
          taken.append(event)
        }
      }
      expected.sort { ($0.time, $0.number) < ($1.time, $1.number) }
      #expect(taken == expected.map(\.number), "seed \(seed)")
      #expect(queue.next() == nil)
    }
  }

  @Test func networkFaults() {
    var network = SimulatedNetwork(members: 4, random: SimulatedRandom(1))
    func arrivals(_ from: Int, _ to: Int) -> Int {
      (0..<1000).reduce(0) { sum, _ in sum + network.send(from: from, to: to, now_ns: 0, mayRepeat: true).count }
    }
    #expect(arrivals(1, 2) == 1000)
    network.partition([1], isLopsided: true)
    #expect(arrivals(1, 2) == 0 && arrivals(2, 1) == 1000 && arrivals(2, 3) == 1000)
    network.heal()
    network.partition([1], isLopsided: false)
    #expect(arrivals(1, 2) == 0 && arrivals(2, 1) == 0 && arrivals(2, 3) == 1000)
    network.heal()
    network.lossPerMille = 500
    #expect((400...600).contains(arrivals(1, 2)))
    network.heal()
    network.repeatPerMille = 500
    #expect((1400...1600).contains(arrivals(1, 2)))
    #expect(network.send(from: 1, to: 2, now_ns: 0, mayRepeat: false).count == 1)
    network.heal()
    network.clog(from: 1, to: 2, until_ns: 1_000_000_000)
    #expect(network.send(from: 1, to: 2, now_ns: 0, mayRepeat: false).allSatisfy { $0 > 1_000_000_000 })
    #expect(network.send(from: 1, to: 2, now_ns: 2_000_000_000, mayRepeat: false).allSatisfy { $0 < 1_000_000_000 })
  }

  @Test func commandsKeepTheirBytes() {
    let long = [UInt8](repeating: 0x61, count: 3000)
    let commands = [
      ClusterCommand(id: 1, key: [1], kind: .put(value: long)),
      ClusterCommand(id: .max, key: [2], kind: .delete(end: [])),
      ClusterCommand(id: 3, key: [3], kind: .transaction(mod: -1, value: [4], otherwise: [], otherKey: long)),
      ClusterCommand(id: 4, kind: .compact(.max)),
      ClusterCommand(id: 5, key: [1], kind: .put(value: long, lease: -7)),
      ClusterCommand(id: 6, kind: .grant(lease: 1 << 40, ttl: 2)),
      ClusterCommand(id: 7, kind: .revoke(lease: .min)),
    ]
    for command in commands {
      let bytes = command.encoded()
      #expect(ClusterCommand(bytes) == command)
      for count in 0..<min(bytes.count, 40) { #expect(ClusterCommand(Array(bytes.prefix(count))) == nil) }
      #expect(ClusterCommand(bytes + [0]) == nil)
    }
  }

  @Test func hashesTellOrder() {
    var one = TraceHash()
    var other = TraceHash()
    one.add(1)
    one.add(2)
    other.add(2)
    other.add(1)
    #expect(one != other)
  }
}
