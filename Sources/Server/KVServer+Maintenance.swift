// Requests of the Maintenance service that reach the store: alarms and hashes. And what alarms and the quota let through.
import NeedletailBackend
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC

extension KVServer {
  /// A request for the list is answered from the view that `pin` gives: its AlarmResponse is appended and this is true.
  /// Raising and taking back are proposed, and this is false.
  package func alarm(
    _ body: UnsafeRawBufferPointer, pin: () -> SnapshotView, reply: ReplyAddress, into out: inout OutBuffer
  ) throws(StatusError) -> Bool {
    let request: AlarmRequestView
    do { request = try AlarmRequestView(body) } catch { throw malformed("AlarmRequest", error) }
    guard let action = AlarmRequestView.Action(rawValue: request.rawAction) else {
      throw StatusError(.invalidArgument, "needletail: unknown alarm action \(request.rawAction)")
    }
    let kind = Alarm.Kind(rawValue: UInt32(bitPattern: request.member.alarm))
    guard kind != nil || request.member.alarm == 0 else {
      throw StatusError(.invalidArgument, "needletail: unknown alarm type \(request.member.alarm)")
    }
    guard action == .get else {
      try propose(.alarm, body, reply)
      return false
    }
    let term = status.term.load(ordering: .relaxed)
    do { try store.listAlarms(pin(), kind, term: term, into: &out) } catch { throw StatusError(error) }
    return true
  }

  /// The hash of pairs and events at a revision. The answer comes through the reply sink, as that of `hash`.
  package func hashKV(_ body: UnsafeRawBufferPointer, reply: ReplyAddress) throws(StatusError) {
    let request: HashKVRequestView
    do { request = try HashKVRequestView(body) } catch { throw malformed("HashKVRequest", error) }
    try hashes.hash(request.revision, reply: reply)
  }

  /// The hash of everything.
  package func hash(reply: ReplyAddress) throws(StatusError) { try hashes.hash(nil, reply: reply) }

  /// Whether a request that may cost so many bytes goes ahead. False: it would go beyond the quota, and the alarm was
  /// proposed in its place; its answer, the refusal, comes when the alarm is raised. What an alarm refuses already is
  /// refused here, before it costs room in the log; the apply thread, which alone knows, refuses what slips through.
  func admit(_ cost: Int, reply: ReplyAddress) throws(StatusError) -> Bool {
    do { try status.alarms.kinds.check(needsSpace: cost > 0) } catch { throw StatusError(error) }
    guard !quota.admits(cost) else { return true }
    try raiseNoSpace(reply: reply)
    return false
  }

  /// Nobody waits for the answer; where it can't be proposed, the next request finds the quota exceeded.
  func raiseNoSpace() {
    do { try raiseNoSpace(reply: nil) } catch { return }
  }

  private func raiseNoSpace(reply: ReplyAddress?) throws(StatusError) {
    let alarm = AlarmMember(Alarm(.noSpace, member: store.identity.memberID))
    let refusal: StatusError? = alarm.encoded().withUnsafeBytes { body in
      do throws(StatusError) {
        try propose(.noSpace, body, reply)
        return nil
      } catch {
        return error
      }
    }
    if let refusal { throw refusal }
  }
}
