// Alarms: what a member has raised against the whole store, kept in the `meta` tree until somebody takes it back.
//
//   name                                                      value
//   1, kind u32 big-endian, member id u64 big-endian          nothing: the alarm is raised
//   2                                                         nothing: a compaction to revision 0 was made
import NeedletailBackend
import NeedletailBytes

package struct Alarm: Hashable, Comparable, Sendable {
  /// etcd's numbers.
  package enum Kind: UInt32, Sendable, CaseIterable {
    case noSpace = 1
    case corrupt = 2

    package var name: String {
      switch self {
      case .noSpace: "NOSPACE"
      case .corrupt: "CORRUPT"
      }
    }
  }

  package var kind: Kind
  package var member: UInt64

  package init(_ kind: Kind, member: UInt64) {
    self.kind = kind
    self.member = member
  }

  package static func < (a: Alarm, b: Alarm) -> Bool { (a.kind.rawValue, a.member) < (b.kind.rawValue, b.member) }
}

/// The kinds that at least one member has raised.
package struct AlarmKinds: OptionSet, Sendable {
  package let rawValue: UInt8
  package init(rawValue: UInt8) { self.rawValue = rawValue }

  package init(_ alarms: some Sequence<Alarm>) {
    self = []
    for alarm in alarms {
      switch alarm.kind {
      case .noSpace: insert(.noSpace)
      case .corrupt: insert(.corrupt)
      }
    }
  }

  package static let noSpace = AlarmKinds(rawValue: 1 << 0)
  package static let corrupt = AlarmKinds(rawValue: 1 << 1)

  /// What etcd refuses: with CORRUPT whatever changes keys, history or leases; with NOSPACE what needs more space.
  package func check(needsSpace: Bool) throws(MVCCError) {
    if isEmpty { return }
    if contains(.corrupt) { throw .corruptCluster }
    if needsSpace, contains(.noSpace) { throw .noSpace }
  }
}

/// Names of the `meta` tree.
enum MetaName {
  private static let alarm: UInt8 = 1
  private static let compactedToZero: UInt8 = 2
  private static let alarmSize = 13

  static func withAlarm<R>(
    _ alarm: Alarm, _ body: (UnsafeRawBufferPointer) throws(MVCCError) -> R
  ) throws(MVCCError) -> R {
    var storage: (UInt64, UInt64) = (0, 0)
    return try withUnsafeMutableBytes(of: &storage) { (p) throws(MVCCError) -> R in
      p[0] = MetaName.alarm
      p.storeBytes(of: alarm.kind.rawValue.bigEndian, toByteOffset: 1, as: UInt32.self)
      p.storeBytes(of: alarm.member.bigEndian, toByteOffset: 5, as: UInt64.self)
      return try body(UnsafeRawBufferPointer(rebasing: p[..<alarmSize]))
    }
  }

  static func withCompactedToZero<R>(
    _ body: (UnsafeRawBufferPointer) throws(MVCCError) -> R
  ) throws(MVCCError) -> R {
    var name = MetaName.compactedToZero
    return try withUnsafeBytes(of: &name) { (p) throws(MVCCError) -> R in try body(p) }
  }

  /// Nil for a name that is no alarm's.
  static func alarm(_ name: UnsafeRawBufferPointer) throws(MVCCError) -> Alarm? {
    guard name.first == MetaName.alarm else { return nil }
    guard name.count == alarmSize,
      let kind = Alarm.Kind(rawValue: UInt32(bigEndian: name.loadUnaligned(fromByteOffset: 1, as: UInt32.self)))
    else { throw .corrupt("an alarm's name") }
    return Alarm(kind, member: UInt64(bigEndian: name.loadUnaligned(fromByteOffset: 5, as: UInt64.self)))
  }
}

extension TreeView {
  /// The alarms of a `meta` tree, sorted. A handful at most: one for each kind and member.
  func alarms() throws(MVCCError) -> [Alarm] {
    guard count > 0 else { return [] }
    var alarms: [Alarm] = []
    var cursor = cursor()
    var isValid = try MetaName.withAlarm(Alarm(.noSpace, member: 0)) { (name) throws(MVCCError) in
      try cursor.move(to: name)
    }
    while isValid, let alarm = try MetaName.alarm(try cursor.name) {
      alarms.append(alarm)
      isValid = try cursor.step()
    }
    return alarms
  }

  /// Whether a compaction to revision 0 was made, which only a store that was never compacted takes.
  func wasCompactedToZero() throws(MVCCError) -> Bool {
    try MetaName.withCompactedToZero { (name) throws(MVCCError) in try find(name) != nil }
  }
}

extension Store {
  package func alarms(_ view: SnapshotView) throws(MVCCError) -> [Alarm] { try view.tree(meta).alarms() }

  /// Appends the AlarmResponse that lists the alarms of one kind, or all.
  package func listAlarms(
    _ view: SnapshotView, _ kind: Alarm.Kind?, term: UInt64, into out: inout OutBuffer
  ) throws(MVCCError) {
    let found = try alarms(view).filter { kind == nil || $0.kind == kind }
    appendAlarms(found, revision: view.word(StoreWord.revision), term: term, to: &out)
  }

  func appendAlarms(_ alarms: [Alarm], revision: UInt64, term: UInt64, to out: inout OutBuffer) {
    let start = out.reserve(AnswerHeader.maxSize)
    out.advance(header.write(start, revision: revision, term: term) - start)
    for alarm in alarms { appendAlarm(alarm, to: &out) }
  }

  /// An AlarmMember as field 2: {memberID 1, alarm 2}.
  private func appendAlarm(_ alarm: Alarm, to out: inout OutBuffer) {
    let size = (alarm.member == 0 ? 0 : 1 + varintSize(alarm.member)) + 2
    let start = out.reserve(2 + size)
    var at = writeByte(UInt8(size), writeByte(2 << 3 | 2, start))
    if alarm.member != 0 { at = writeVarint(alarm.member, writeByte(1 << 3, at)) }
    at = writeByte(UInt8(truncatingIfNeeded: alarm.kind.rawValue), writeByte(2 << 3, at))
    out.advance(at - start)
  }
}
