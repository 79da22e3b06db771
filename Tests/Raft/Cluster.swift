import Foundation

@testable import NeedletailRaft

/// Why a run failed; the rules of Raft, as far as they can be seen from outside.
struct Violation: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}

/// A few members in one thread, a network that loses, repeats and reorders, and crashes that lose what isn't durable.
/// The seed decides everything. After every step the invariants in `Oracle` are checked.
final class Cluster {
  struct Shape {
    var voters = 3
    var others = 0
    var isAsync = false
    var preVote = false
    var checkQuorum = false
    var leases = false
    var changesMembers = false
    var limits = false
    var compacts = false
    var stepsDown = false
    /// Elections follow one another.
    var churns = false

    init(_ random: inout Random) {
      voters = random.pick([1, 2, 3, 3, 3, 5])
      changesMembers = random.chance(50)
      others = changesMembers ? 1 + random.below(3) : 0
      isAsync = random.chance(50)
      preVote = random.chance(50)
      checkQuorum = random.chance(50)
      leases = checkQuorum && random.chance(50)
      limits = random.chance(50)
      compacts = random.chance(50)
      stepsDown = random.chance(70)
      churns = random.chance(30)
    }
  }

  final class Member {
    let id: NodeID
    let storage = MemoryStorage()
    var options: RaftOptions
    var raft: Raft?
    var appendWork: [Message] = []
    var applyWork: [Message] = []
    /// What the state machine has applied; as durable as the log, and saved together with its index.
    var applied = Snapshot()
    /// Stored last where a crash may lose the commit index.
    var stableHardState = HardState()
    var isUp: Bool { raft != nil }

    init(_ options: RaftOptions) {
      id = options.id
      self.options = options
    }
  }

  let seed: UInt64
  let shape: Shape
  var random: Random
  var members: [Member] = []
  var network: [Message] = []
  /// Links that carry nothing: from, to.
  var cut: Set<[NodeID]> = []
  var oracle = Oracle()
  var proposals = 0
  var reads = 0
  var steps = 0
  var trace: [String] = []
  let traces = setting("NEEDLETAIL_TRACE") != nil

  init(seed: UInt64) throws {
    self.seed = seed
    var random = Random(seed)
    shape = Shape(&random)
    self.random = random
    let voters = (1...NodeID(shape.voters)).map { $0 }
    for id in 1...NodeID(shape.voters + shape.others) {
      let storage = MemoryStorage()
      var options = RaftOptions(id: id, storage: storage)
      options.electionTicks = 10
      options.asyncStorageWrites = shape.isAsync
      options.preVote = shape.preVote
      options.checkQuorum = shape.checkQuorum
      options.stepDownOnRemoval = shape.stepsDown
      options.readMode = shape.leases ? .leaseBased : .safe
      options.electionSeed = seed &* 1000 &+ id
      if shape.limits {
        options.messageSizeMax = 64
        options.applyingSizeMax = 100
        options.inflightMessagesMax = 2
        options.inflightBytesMax = 128
        options.uncommittedSizeMax = 200
      }
      let member = Member(options)
      member.options.storage = member.storage
      if id <= NodeID(shape.voters) {
        member.applied = Snapshot(index: 2, term: 1, members: ConfigState(voters: voters), data: Oracle.hash([]))
        try member.storage.apply(member.applied)
      }
      member.storage.makeSnapshot = { [unowned member] () throws(StorageError) in member.applied }
      if traces { member.options.listener = { [unowned self] _, line in trace.append(line) } }
      members.append(member)
    }
    oracle.begin(ConfigState(voters: voters), hash: Oracle.hash([]))
    for member in members { try start(member) }
  }

  func note(_ line: @autoclosure () -> String) { if traces { trace.append("\(steps): \(line())") } }

  func member(_ id: NodeID) -> Member { members[Int(id) - 1] }

  var up: [Member] { members.filter(\.isUp) }

  // MARK: Life

  func start(_ member: Member) throws {
    member.options.applied = member.applied.index
    member.storage.members = member.applied.members
    member.options.electionSeed &+= 7919
    member.raft = try Raft(member.options)
    note("start \(member.id)")
  }

  /// What was not handed to storage is gone, and a commit index that was stored alone may be.
  func crash(_ member: Member) {
    note("crash \(member.id)")
    member.raft = nil
    member.appendWork = []
    member.applyWork = []
    if random.chance(50) {
      var state = member.storage.hardState
      state.commit = min(state.commit, member.stableHardState.commit)
      member.storage.set(state)
    }
    // A log that begins after a snapshot has at least that committed.
    var state = member.storage.hardState
    state.commit = max(state.commit, member.storage.firstIndex - 1)
    if !state.isEmpty, state.term > 0 { member.storage.set(state) }
  }

  // MARK: Work

  func processReady(_ member: Member) throws {
    guard let ready = try member.raft?.ready() else { return }
    note("ready \(member.id) \(ready)")
    try oracle.check(ready, of: member)
    for read in ready.readStates { try oracle.finish(read, at: member.id) }
    if shape.isAsync {
      for message in ready.messages {
        switch message.to {
        case Node.appendThread: member.appendWork.append(message)
        case Node.applyThread: member.applyWork.append(message)
        default: try post(message, from: member)
        }
      }
      return
    }
    if random.chance(2) { return crash(member) }
    try store(member, ready.hardState, ready.entries, ready.snapshot, isSynced: ready.mustSync)
    if random.chance(2) { return crash(member) }
    for message in ready.messages { try post(message, from: member) }
    try apply(member, ready.committedEntries)
    try member.raft?.advance()
  }

  func store(
    _ member: Member, _ state: HardState, _ entries: [Entry], _ snapshot: Snapshot, isSynced: Bool
  ) throws {
    if !state.isEmpty {
      member.storage.set(state)
      if isSynced { member.stableHardState = state }
    }
    if !snapshot.isEmpty {
      try member.storage.apply(snapshot)
      member.applied = snapshot
      try oracle.installed(snapshot, at: member.id)
    }
    try member.storage.append(entries)
  }

  func apply(_ member: Member, _ entries: [Entry]) throws {
    for entry in entries {
      guard entry.index == member.applied.index + 1 else {
        throw Violation("\(member.id) applies \(entry) after \(member.applied.index)")
      }
      if let change = try ConfigChange.decode(entry) {
        do { member.applied.members = try member.raft?.apply(change) ?? member.applied.members } catch {
          note("\(member.id) refuses \(entry): \(error)")
        }
        member.storage.members = member.applied.members
      }
      member.applied.index = entry.index
      member.applied.term = entry.term
      member.applied.data = Oracle.hash(member.applied.data + entry.data)
      try oracle.applied(entry, by: member)
    }
  }

  func processAppend(_ member: Member) throws {
    if member.appendWork.isEmpty { return }
    let work = member.appendWork.removeFirst()
    let state = HardState(term: work.term, vote: work.vote, commit: work.commit)
    try store(member, state, work.entries, work.snapshot ?? Snapshot(), isSynced: !work.responses.isEmpty)
    for response in work.responses { try post(response, from: member) }
  }

  func processApply(_ member: Member) throws {
    if member.applyWork.isEmpty { return }
    let work = member.applyWork.removeFirst()
    try apply(member, work.entries)
    for response in work.responses { try post(response, from: member) }
  }

  /// What a member says to itself arrives at once; everything else goes through the network.
  func post(_ message: Message, from member: Member) throws {
    if message.to == member.id {
      note("deliver \(message)")
      do { try member.raft?.step(fromStorage: message) } catch RaftError.unknownPeer {
        // Removed meanwhile.
      }
      return
    }
    try oracle.checkDurable(message, of: member, members)
    network.append(message)
  }

  func deliver(_ message: Message) throws {
    guard message.to >= 1, message.to <= NodeID(members.count) else { return }
    let receiver = member(message.to)
    // Whoever sends a snapshot knows whether it arrived, though not what became of it.
    if message.type == .snapshot { member(message.from).raft?.reportSnapshot(message.to, isSent: receiver.isUp) }
    guard receiver.isUp else { return }
    note("deliver \(message)")
    do throws(RaftError) { try receiver.raft?.step(message) } catch {
      switch error {
      // Handed on to here, perhaps twice: who proposed knows nothing of it.
      case .proposalDropped: break
      // Removed meanwhile.
      case .unknownPeer: break
      case .malformed(let text):
        throw Violation("\(receiver.id) finds an honest message malformed: \(text): \(message)")
      default: throw error
      }
    }
    if receiver.raft?.isRestoring == true { try overtake(receiver) }
  }

  /// A snapshot has what waits to be applied, and its changes of membership are in force already.
  private func overtake(_ member: Member) throws {
    let overtaken = member.applyWork
    member.applyWork = []
    for response in overtaken.flatMap(\.responses) { try post(response, from: member) }
  }

  // MARK: Steps

  func step() throws {
    steps += 1
    let member = random.pick(members)
    switch random.below(1000) {
    case 0..<380: try deliverSome()
    case 380..<630: if member.raft?.hasReady == true { try processReady(member) }
    case 630..<710: try processAppend(member)
    case 710..<770: try processApply(member)
    case 770..<900:
      // Clocks go alike, nearly: leases are promised no more than that.
      for member in up where random.chance(95) { member.raft?.tick() }
    case 900..<950: propose(member)
    case 950..<975: startRead(member)
    case 975..<979: if member.isUp { crash(member) }
    case 979..<987: if !member.isUp { try start(member) }
    case 987..<992: changeNetwork()
    default: try seldom(member)
    }
    if shape.churns, random.chance(1) { try? random.pick(members).raft?.campaign() }
    try oracle.checkLeaders(members)
  }

  private func deliverSome() throws {
    while network.count > 400 { try lost(network.removeFirst()) }
    if network.isEmpty { return }
    // Mostly in order, at times not.
    let at = random.chance(80) ? 0 : random.below(network.count)
    let message = network[at]
    if !random.chance(5) { network.remove(at: at) }
    if random.chance(4) || cut.contains([message.from, message.to]) { return try lost(message) }
    try deliver(message)
  }

  /// Senders may hear of it.
  private func lost(_ message: Message) throws {
    let sender = member(message.from)
    if message.type == .snapshot {
      sender.raft?.reportSnapshot(message.to, isSent: false)
    } else if random.chance(20) {
      sender.raft?.reportUnreachable(message.to)
    }
  }

  func propose(_ member: Member) {
    guard member.isUp else { return }
    proposals += 1
    let data = Array("\(proposals)".utf8)
    do { try member.raft?.propose(data) } catch { oracle.dropped([Entry(data: data)]) }
  }

  func startRead(_ member: Member) {
    guard member.isUp else { return }
    reads += 1
    let context = Array("\(member.id)/\(reads)".utf8)
    oracle.begin(read: context, at: member.id, members)
    try? member.raft?.readIndex(context)
  }

  private func changeNetwork() {
    cut = []
    if random.chance(50) { return }
    for from in members {
      for to in members where from.id != to.id && random.chance(30) { cut.insert([from.id, to.id]) }
    }
  }

  private func seldom(_ member: Member) throws {
    guard member.isUp else { return }
    switch random.below(6) {
    case 0: try? member.raft?.campaign()
    case 1: member.raft?.transferLeader(to: random.pick(members).id)
    case 2: member.raft?.forgetLeader()
    case 3 where shape.compacts:
      let index = member.applied.index
      if index >= member.storage.firstIndex, index <= member.storage.lastIndex {
        try member.storage.compact(to: index - UInt64(random.below(Int(min(3, index - member.storage.firstIndex + 1)))))
      }
    case 4, 5:
      if shape.changesMembers { proposeChange(member) }
    default: break
    }
  }

  private func proposeChange(_ member: Member) {
    let kinds: [ConfigChangeKind] = [.addVoter, .addVoter, .addLearner, .remove]
    let count = random.pick([0, 1, 1, 1, 2, 3])
    let changes = (0..<count).map { _ in SingleChange(random.pick(kinds), random.pick(members).id) }
    let transition: ConfigTransition = count == 0 ? .auto : random.pick([.auto, .jointImplicit, .jointExplicit])
    let isV1 = count == 1 && random.chance(30)
    try? member.raft?.propose(
      ConfigChange(transition: isV1 ? .auto : transition, changes: changes, isV1: isV1))
  }

  // MARK: Whole runs

  func run(steps count: Int) throws {
    for _ in 0..<count { try step() }
    try oracle.checkLogs(members)
    try heal()
  }

  /// With everyone up and the network whole, there is a leader soon, and it commits what is proposed.
  func heal() throws {
    cut = []
    for member in members where !member.isUp { try start(member) }
    let marker = Array("marker".utf8)
    var isProposed = false
    for round in 0..<400 {
      for member in members { member.raft?.tick() }
      for _ in 0..<20 {
        for member in members where member.raft?.hasReady == true { try quietReady(member) }
        for member in members {
          while !member.appendWork.isEmpty { try processAppend(member) }
          while !member.applyWork.isEmpty { try processApply(member) }
        }
        let batch = network
        network = []
        for message in batch { try deliver(message) }
      }
      try oracle.checkLeaders(members)
      // A leader that was removed leads on until its program stops it.
      for member in up where member.raft?.role == .leader && member.raft?.progress.contains(member.id) == false {
        crash(member)
      }
      let leaders = up.filter { $0.raft?.role == .leader }.sorted { ($0.raft?.term ?? 0) > ($1.raft?.term ?? 0) }
      if round % 60 == 20 { isProposed = false }
      if !isProposed, let leader = leaders.first {
        do {
          try leader.raft?.propose(marker)
          isProposed = true
        } catch {}
      }
      if let leader = leaders.first, isProposed, isCaughtUp(leader, marker) {
        return try oracle.checkLogs(members)
      }
    }
    if isStuckByRemoval { return }
    throw Violation("no progress after healing: " + members.map(Self.summary).joined(separator: "; "))
  }

  /// The one case where nothing helps: of two voters the leader removed itself, committed that and applied it, and the
  /// other doesn't know yet. It needs a vote that the removed one, whose log is longer, won't give. docs/raft.md warns.
  private var isStuckByRemoval: Bool {
    members.contains { removed in
      removed.raft?.config.voters.contains(removed.id) == false
        && members.contains { other in
          guard let voters = other.raft?.config.voters else { return false }
          return [voters.incoming, voters.outgoing].contains { $0.count <= 2 && $0.contains(removed.id) }
        }
    }
  }

  private static func summary(_ member: Member) -> String {
    guard let raft = member.raft else { return "\(member.id) down" }
    let progress = raft.role == .leader ? " [\(raft.progress)]" : ""
    return "\(member.id) \(raft.role) term \(raft.term) last \(raft.lastIndex) commit \(raft.committed) applied "
      + "\(raft.applied) \(raft.config)\(progress)"
  }

  /// All members of the leader's membership applied all of its log, and the marker is in it.
  private func isCaughtUp(_ leader: Member, _ marker: [UInt8]) -> Bool {
    guard let raft = leader.raft, oracle.hasApplied(marker), raft.applied == raft.lastIndex else { return false }
    return raft.progress.ids.allSatisfy { member($0).raft?.applied == raft.lastIndex }
  }

  private func quietReady(_ member: Member) throws {
    guard let ready = try member.raft?.ready() else { return }
    try oracle.check(ready, of: member)
    for read in ready.readStates { try oracle.finish(read, at: member.id) }
    if !shape.isAsync {
      try store(member, ready.hardState, ready.entries, ready.snapshot, isSynced: ready.mustSync)
    }
    for message in ready.messages {
      switch message.to {
      case Node.appendThread: member.appendWork.append(message)
      case Node.applyThread: member.applyWork.append(message)
      default: try post(message, from: member)
      }
    }
    if !shape.isAsync {
      try apply(member, ready.committedEntries)
      try member.raft?.advance()
    }
  }
}
