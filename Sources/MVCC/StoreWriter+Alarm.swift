// The write side of alarms: raising and taking back, each a command like any other, so that all members refuse the same.
import NeedletailBackend
import NeedletailBytes

extension StoreWriter {
  /// Raises an alarm and appends an AlarmResponse body that names it. Raising it again changes nothing.
  package func raise(
    _ batch: WriteBatch, _ alarm: Alarm, term: UInt64, into out: inout OutBuffer
  ) throws(MVCCError) {
    try raise(batch, alarm)
    store.appendAlarms([alarm], revision: revision, term: term, to: &out)
  }

  package func raise(_ batch: WriteBatch, _ alarm: Alarm) throws(MVCCError) {
    try MetaName.withAlarm(alarm) { (name) throws(MVCCError) in
      guard try find(batch, store.meta, name) == nil else { return }
      try put(batch, store.meta, name, UnsafeRawBufferPointer(start: nil, count: 0))
    }
    try loadAlarms(batch)
  }

  /// Takes an alarm back and appends an AlarmResponse body: with the alarm, or empty if it was not raised.
  package func lower(
    _ batch: WriteBatch, _ alarm: Alarm, term: UInt64, into out: inout OutBuffer
  ) throws(MVCCError) {
    let wasRaised = try MetaName.withAlarm(alarm) { (name) throws(MVCCError) in
      guard try find(batch, store.meta, name) != nil else { return false }
      try remove(batch, store.meta, name)
      return true
    }
    try loadAlarms(batch)
    store.appendAlarms(wasRaised ? [alarm] : [], revision: revision, term: term, to: &out)
  }

  /// Appends an AlarmResponse without alarms: etcd's answer to raising none.
  package func raiseNothing(term: UInt64, into out: inout OutBuffer) {
    store.appendAlarms([], revision: revision, term: term, to: &out)
  }

  func loadAlarms(_ batch: WriteBatch) throws(MVCCError) {
    guard batch.count(store.meta) > 0 else { return alarms = [] }
    do { alarms = AlarmKinds(try batch.view(store.meta).alarms()) } catch let error as MVCCError {
      throw error
    } catch let error as DatabaseError {
      throw .storage(error)
    } catch {
      throw .corrupt("alarms: \(error)")
    }
  }
}
