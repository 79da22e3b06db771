// Applying durable entries to the tree, a whole list in one commit. The apply thread and recovery share it, so that a
// replay does exactly what the first run did.
import Glibc
import NeedletailBackend
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC

/// Owned by one thread at a time: recovery first, then the apply thread. Answers of a commit are held back until it is
/// published; nothing is answered for a commit that was discarded.
package final class Applier {
  private let store: Store
  private let writer: StoreWriter
  /// Answers of the commit under way: bodies end to end, and whose they are.
  private var answers = OutBuffer()
  private var replies: [Reply] = []
  /// What the entries applied since the last call of `takeAppliedBytes` brought in.
  private var appliedBytes = 0

  private struct Reply {
    var address: ReplyAddress
    var status: UInt32
    var offset: Int
    var count: Int
    /// The revision of a compaction that waits for its removal.
    var physicalRevision: UInt64?
  }

  /// Whether the last commit held a compaction.
  private(set) var hasCompacted = false
  /// Whether the last commit held an alarm.
  private(set) var hasChangedAlarms = false
  /// What the last commit did to leases.
  private var leaseEvents: [LeaseEvent] = []
  let physicalCompactions = PhysicalCompactions()
  /// Where watchers hear of changes; nil during a replay.
  var feed: EventFeed?
  /// The revisions between which the last commit led.
  private var revisions: (after: UInt64, through: UInt64) = (0, 0)

  package init(_ store: Store) {
    self.store = store
    writer = StoreWriter(store)
  }

  deinit { answers.free() }

  /// Applies the list's entries, in order, in one commit; then readers see them. Throws only what is fatal or, with
  /// `DatabaseError.noSpace` inside, what may pass: in both cases nothing of the list is applied.
  package func commit(_ list: ProposalList) throws(MVCCError) {
    answers.removeAll()
    replies.removeAll(keepingCapacity: true)
    hasCompacted = false
    hasChangedAlarms = false
    leaseEvents.removeAll(keepingCapacity: true)
    feed?.prepare(writer)
    do {
      try store.database.write { batch in
        try writer.begin(batch)
        revisions.after = writer.revision
        var next = list.first
        var last: (index: UInt64, term: UInt64) = (0, 0)
        while let entry = next {
          try apply(entry, batch)
          last = (entry.pointee.index, entry.pointee.term)
          next = entry.pointee.next
        }
        if list.count > 0 { writer.finish(batch, appliedIndex: last.index, appliedTerm: last.term) }
      }
    } catch let error as MVCCError {
      throw error
    } catch let error as DatabaseError {
      throw .storage(error)
    } catch {
      throw .corrupt("applying: \(error)")
    }
    revisions.through = writer.revision
    appliedBytes += list.byteCount
  }

  /// Tells watchers of the last commit's changes: before its answers go out, so that who has an answer finds the change
  /// on its way.
  func tellWatchers() { feed?.published(writer, after: revisions.after, through: revisions.through) }

  private func apply(_ entry: UnsafeMutablePointer<Proposal>, _ batch: WriteBatch) throws(MVCCError) {
    let mark = answers.count
    var status: UInt32 = 0
    var physicalRevision: UInt64?
    do throws(MVCCError) {
      guard let command = Command(entry.bytes) else {
        throw MVCCError.corrupt("entry \(entry.pointee.index) is not a command of this version")
      }
      if command.tag == .alarm || command.tag == .noSpace { hasChangedAlarms = true }
      try command.apply(writer, batch, term: entry.pointee.term, into: &answers)
      physicalRevision = command.physicalRevision
      if command.tag == .compact { hasCompacted = true }
      if command.tag.rawValue >= CommandTag.leaseGrant.rawValue { leaseEvents += try command.leaseEvents() }
    } catch {
      guard !error.isFatal else { throw error }
      answers.truncate(to: mark)
      answers.append(error.message)
      status = error.code
    }
    guard let address = entry.pointee.reply else { return answers.truncate(to: mark) }
    replies.append(
      Reply(
        address: address, status: status, offset: mark, count: answers.count - mark,
        physicalRevision: physicalRevision))
  }

  /// Sends the answers of the last commit. The lease thread is told first: who has an answer may ask it at once.
  func answer(through sink: any ReplySink, _ leases: LeaseThread) {
    for event in leaseEvents { _ = leases.post(event.kind, event.id, event.number, reply: nil) }
    let bytes = answers.bytes
    for reply in replies {
      let body = UnsafeRawBufferPointer(rebasing: bytes[reply.offset..<(reply.offset + reply.count)])
      if let revision = reply.physicalRevision {
        physicalCompactions.add(revision, reply.address, body)
      } else {
        sink.reply(to: reply.address, status: reply.status, body: body)
      }
    }
    replies.removeAll(keepingCapacity: true)
  }

  /// Removes a part of what compactions have given up, in a commit of its own. False when nothing is left.
  func removeCompacted(rowsMax: Int) throws(MVCCError) -> Bool {
    do {
      let bytes = try store.database.write { batch in try writer.removeCompacted(batch, rowsMax: rowsMax) }
      // A row that goes is a change of pages, as a command's is.
      appliedBytes += bytes ?? 0
      return bytes != nil
    } catch let error as MVCCError {
      throw error
    } catch let error as DatabaseError {
      throw .storage(error)
    } catch {
      throw .corrupt("removing what was compacted: \(error)")
    }
  }

  /// Pages that hold live data, in bytes.
  var bytesInUse: UInt64 { store.database.liveBytes }

  /// What is raised now.
  func alarms() throws(MVCCError) -> [Alarm] {
    let reader: ReaderHandle
    do { reader = try store.database.makeReader() } catch { throw .storage(error) }
    defer { reader.free() }
    let view = reader.pin()
    defer { reader.unpin() }
    return try store.alarms(view)
  }

  /// Bytes of commands applied since the last call.
  package func takeAppliedBytes() -> Int {
    defer { appliedBytes = 0 }
    return appliedBytes
  }
}
