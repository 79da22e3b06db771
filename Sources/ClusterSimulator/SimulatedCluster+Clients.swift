// What clients do.

import NeedletailMVCC
import NeedletailRaft
import NeedletailSimulator

extension SimulatedCluster {
  private static var patience_ns: Int64 { 600_000_000 }

  /// The client's next request, if a member is up to take it.
  func turn(_ number: Int) throws {
    guard let member = random.chance(perMille: 30) ? random.pick(members) : pickMember(&random),
      let process = member.process, member.isAwake
    else {
      return queue.add(.turn(client: number), after: random.between(1_000_000...20_000_000))
    }
    let id = clients[number].choose(&random, revision: revision, leases: leases)
    history.note(number, now_ns, clients[number].requestWords)
    process.waiting.insert(id)
    do {
      switch clients[number].request {
      case .command(let command): try process.raft.propose(command.encoded())
      case .range, .keepAlive, .leaseKeys: try process.raft.readIndex([UInt8](number: id))
      }
      queue.add(.timeout(client: number, id: id), after: SimulatedCluster.patience_ns)
    } catch RaftError.proposalDropped, RaftError.readDropped {
      process.waiting.remove(id)
      finish(number, ":type :fail, :error :refused", isAnswered: false)
    }
    try guarded(member) { process in try work(member, process) }
  }

  func answer(_ id: UInt64, _ answer: Result<[UInt8], MVCCError>) throws {
    let number = Int(id & 0xFF)
    // Who has given up is not answered any more.
    guard clients[number].id == id else { return }
    let (words, seen) = try clients[number].answerWords(answer)
    revision = max(revision, seen)
    if case .command(let command) = clients[number].request, case .grant(let lease, _) = command.kind,
      (try? answer.get()) != nil
    {
      // The last few that were granted; some of them live.
      leases = leases.suffix(5) + [lease]
    }
    finish(number, words, isAnswered: true)
  }

  /// Nothing has come of it, and nothing will.
  func refuse(_ id: UInt64) {
    let number = Int(id & 0xFF)
    guard clients[number].id == id else { return }
    finish(number, ":type :fail, :error :refused", isAnswered: false)
  }

  func timeout(_ number: Int, _ id: UInt64) {
    guard clients[number].id == id else { return }
    for member in members { member.process?.waiting.remove(id) }
    finish(number, ":type :info", isAnswered: false)
  }

  private func finish(_ number: Int, _ words: String, isAnswered: Bool) {
    history.note(number, now_ns, words)
    clients[number].finish(isAnswered: isAnswered)
    queue.add(.turn(client: number), after: random.between(0...10_000_000))
  }

  package var answered: Int { clients.reduce(0) { $0 + $1.answered } }
}
