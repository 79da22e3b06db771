// What an entry of the log says: a format version, a tag, and the request's protobuf bytes as they came.
//
//   offset  size
//   0       1     format version, 1
//   1       1     tag: 1 = put, 2 = delete range, 3 = transaction, 4 = compaction, 5 = lease grant, 6 = lease revoke,
//                 7 = lease checkpoint, 8 = alarm, 9 = the NOSPACE alarm in a refused request's place
//   2       rest  the request message
import NeedletailBackend
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC

package enum CommandTag: UInt8, Sendable {
  case put = 1
  case deleteRange = 2
  case txn = 3
  case compact = 4
  case leaseGrant = 5
  case leaseRevoke = 6
  case leaseCheckpoint = 7
  case alarm = 8
  case noSpace = 9
}

/// A parsed command; `request` points into the entry.
package struct Command {
  package static let version: UInt8 = 1
  package static let headSize = 2

  package var tag: CommandTag
  package var request: UnsafeRawBufferPointer

  /// Nil for bytes that this version does not know.
  package init?(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count >= Command.headSize, bytes[0] == Command.version, let tag = CommandTag(rawValue: bytes[1]) else {
      return nil
    }
    self.tag = tag
    request = UnsafeRawBufferPointer(rebasing: bytes[Command.headSize...])
  }

  /// Applies it and appends the answer's body. The outcome is a function of the store and the bytes alone: every member,
  /// and every replay, comes to the same.
  package func apply(
    _ writer: StoreWriter, _ batch: WriteBatch, term: UInt64, into out: inout OutBuffer
  ) throws(MVCCError) {
    switch tag {
    case .put:
      guard let request = try? PutRequestView(request) else { throw .corrupt("a put that does not parse") }
      try writer.put(batch, PutCommand(request), term: term, into: &out)
    case .deleteRange:
      guard let request = try? DeleteRangeRequestView(request) else {
        throw .corrupt("a delete that does not parse")
      }
      try writer.deleteRange(batch, DeleteRangeCommand(request), term: term, into: &out)
    case .txn:
      guard let transaction = try? Transaction(parsing: request) else {
        throw .corrupt("a transaction that does not parse")
      }
      try writer.transaction(batch, transaction, term: term, into: &out)
    case .compact:
      guard let request = try? CompactionRequestView(request) else {
        throw .corrupt("a compaction that does not parse")
      }
      try writer.compact(batch, to: request.revision, term: term, into: &out)
    case .leaseGrant:
      let request = try leaseRequest()
      try writer.grantLease(batch, request.second, ttl: request.first, term: term, into: &out)
    case .leaseRevoke:
      try writer.revokeLease(batch, try leaseRequest().first, term: term, into: &out)
    case .leaseCheckpoint:
      for lease in try leaseCheckpoints() {
        try writer.checkpointLease(batch, lease.first, remaining: lease.second)
      }
    case .alarm:
      try applyAlarm(writer, batch, term: term, into: &out)
    case .noSpace:
      let member: AlarmMember
      do { member = try AlarmMember(request) } catch { throw .corrupt("an alarm that does not parse") }
      try writer.raise(batch, Alarm(.noSpace, member: member.memberID))
      // The alarm stands; this is the answer of the request that it took the place of.
      throw .noSpace
    }
  }
}

extension Command {
  private func applyAlarm(
    _ writer: StoreWriter, _ batch: WriteBatch, term: UInt64, into out: inout OutBuffer
  ) throws(MVCCError) {
    guard let request = try? AlarmRequestView(request),
      let action = AlarmRequestView.Action(rawValue: request.rawAction), action != .get
    else { throw .corrupt("an alarm that does not parse") }
    guard let kind = Alarm.Kind(rawValue: UInt32(bitPattern: request.member.alarm)) else {
      return writer.raiseNothing(term: term, into: &out)
    }
    let alarm = Alarm(kind, member: request.member.memberID)
    if action == .activate {
      try writer.raise(batch, alarm, term: term, into: &out)
    } else {
      try writer.lower(batch, alarm, term: term, into: &out)
    }
  }
}

extension Command {
  /// For a compaction whose answer shall wait until the space is free: its revision.
  var physicalRevision: UInt64? {
    guard tag == .compact, let request = try? CompactionRequestView(request), request.physical, request.revision > 0
    else { return nil }
    return UInt64(clamping: request.revision)
  }
}

extension Command {
  func leaseRequest() throws(MVCCError) -> LeaseRequestView {
    do { return try LeaseRequestView(request) } catch { throw .corrupt("a lease command that does not parse") }
  }

  func leaseCheckpoints() throws(MVCCError) -> [LeaseRequestView] {
    do { return try LeaseCheckpoints(request).leases } catch { throw .corrupt("a lease command that does not parse") }
  }

  /// What the lease thread must know of it once it is visible.
  func leaseEvents() throws(MVCCError) -> [LeaseEvent] {
    switch tag {
    case .put, .deleteRange, .txn, .compact, .alarm, .noSpace: return []
    case .leaseGrant:
      let request = try leaseRequest()
      return [LeaseEvent(kind: .granted, id: request.second, number: request.first)]
    case .leaseRevoke: return [LeaseEvent(kind: .revoked, id: try leaseRequest().first, number: 0)]
    case .leaseCheckpoint:
      return try leaseCheckpoints().map { LeaseEvent(kind: .checkpointed, id: $0.first, number: $0.second) }
    }
  }
}

struct LeaseEvent {
  var kind: LeaseThread.Event
  var id: Int64
  var number: Int64
}

extension PutCommand {
  init(_ request: PutRequestView) {
    self.init(key: request.key, value: request.value)
    lease = request.lease
    prevKV = request.prevKV
    ignoreValue = request.ignoreValue
    ignoreLease = request.ignoreLease
  }
}

extension DeleteRangeCommand {
  init(_ request: DeleteRangeRequestView) {
    self.init(key: request.key, rangeEnd: request.rangeEnd)
    prevKV = request.prevKV
  }
}

extension RangeQuery {
  /// Nil where the sort options are not etcd's.
  @inline(__always)
  init?(_ request: RangeRequestView) {
    guard let order = Order(rawValue: UInt8(clamping: request.rawSortOrder)),
      let target = Target(rawValue: UInt8(clamping: request.rawSortTarget)),
      request.rawSortOrder >= 0, request.rawSortTarget >= 0
    else { return nil }
    self.init(key: request.key, rangeEnd: request.rangeEnd)
    self.order = order
    self.target = target
    limit = request.limit
    revision = request.revision
    keysOnly = request.keysOnly
    countOnly = request.countOnly
    minModRevision = request.minModRevision
    maxModRevision = request.maxModRevision
    minCreateRevision = request.minCreateRevision
    maxCreateRevision = request.maxCreateRevision
  }
}

extension StatusError {
  package init(_ error: MVCCError) {
    self.init(StatusCode(rawValue: error.code) ?? .unknown, error.message)
  }
}
