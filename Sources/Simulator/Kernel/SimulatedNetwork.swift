// What becomes of messages: delayed, lost, repeated, overtaken, or held up on a link that carries nothing for a while.
// Links have a direction, so that a partition may be lopsided.

package struct SimulatedNetwork {
  package struct Link: Hashable {
    package var from: Int
    package var to: Int
  }

  package let members: Int
  /// Of all messages, in thousandths.
  package var lossPerMille = 0
  package var repeatPerMille = 0
  /// A delay is drawn from here; now and then one is ten times as long. Messages overtake each other by that alone.
  package var delay_ns: ClosedRange<Int64> = 100_000...2_000_000
  /// Links that carry nothing.
  private var cut: Set<Link> = []
  /// Links on which everything waits until a time.
  private var clogged: [Link: Int64] = [:]
  private var random: SimulatedRandom

  package private(set) var lost = 0
  package private(set) var repeated = 0
  package private(set) var held = 0

  package init(members: Int, random: SimulatedRandom) {
    self.members = members
    self.random = random
  }

  /// When copies of a message arrive, as delays; none where it is lost. `mayRepeat` is false for what travels in a stream
  /// that its receiver takes once.
  package mutating func send(from: Int, to: Int, now_ns: Int64, mayRepeat: Bool) -> [Int64] {
    let link = Link(from: from, to: to)
    if cut.contains(link) || random.chance(perMille: lossPerMille) {
      lost += 1
      return []
    }
    var delays = [delay()]
    if mayRepeat, random.chance(perMille: repeatPerMille) {
      repeated += 1
      delays.append(delay())
    }
    guard let until = clogged[link], until > now_ns else { return delays }
    held += 1
    return delays.map { until - now_ns + $0 }
  }

  private mutating func delay() -> Int64 {
    let delay = random.between(delay_ns)
    return random.chance(perMille: 20) ? delay * 10 : delay
  }

  // MARK: Faults

  /// Nothing passes from one side to the other; with `isLopsided` the other way round it does.
  package mutating func partition(_ side: Set<Int>, isLopsided: Bool) {
    for from in 0..<members {
      for to in 0..<members where side.contains(from) && !side.contains(to) {
        cut.insert(Link(from: from, to: to))
        if !isLopsided { cut.insert(Link(from: to, to: from)) }
      }
    }
  }

  package mutating func clog(from: Int, to: Int, until_ns: Int64) {
    clogged[Link(from: from, to: to)] = until_ns
  }

  /// Every link carries everything again, once.
  package mutating func heal() {
    cut = []
    clogged = [:]
    lossPerMille = 0
    repeatPerMille = 0
  }
}
