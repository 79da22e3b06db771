// The alarms as all threads see them: what the last commit left raised.
import NeedletailMVCC
import NeedletailRPC
import Synchronization

/// The apply thread writes, after publication and before the answers: who has an alarm's answer sees its effect. The list
/// is guarded by the monitor; the mask is what the way of a write looks at.
package final class AlarmBoard: @unchecked Sendable {
  private let mask = Atomic<UInt8>(0)
  private let monitor = Monitor()
  private var alarms: [Alarm] = []

  package init() {}

  package var kinds: AlarmKinds { AlarmKinds(rawValue: mask.load(ordering: .relaxed)) }

  package var list: [Alarm] { monitor.locked { alarms } }

  func show(_ alarms: [Alarm]) {
    monitor.locked { self.alarms = alarms }
    mask.store(AlarmKinds(alarms).rawValue, ordering: .releasing)
  }
}

extension AlarmMember {
  init(_ alarm: Alarm) { self.init(memberID: alarm.member, alarm: Int32(alarm.kind.rawValue)) }
}
