// Watches, and what goes out on streams.
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC

extension RecipeThread {
  func watch(
    _ key: [UInt8], _ end: [UInt8] = [], after revision: UInt64, skipsPuts: Bool = false, skipsDeletes: Bool = false,
    for target: Target
  ) -> Int64 {
    lastWatch += 1
    let id = lastWatch
    targets[id] = target
    creating.append(id)
    let request = key.withUnsafeBytes { key in
      end.withUnsafeBytes { end in
        var view = WatchCreateView()
        view.key = key
        view.rangeEnd = end
        view.startRevision = Int64(clamping: revision + 1)
        view.skipsPuts = skipsPuts
        view.skipsDeletes = skipsDeletes
        view.watchID = id
        return WatchCreate(view)
      }
    }
    server?.watch.post(.create(watchStream, request, revision: revision))
    return id
  }

  func unwatch(_ watch: inout Int64?) {
    guard let id = watch else { return }
    watch = nil
    targets[id] = nil
    server?.watch.post(.cancel(watchStream, watchID: id))
  }

  func take(_ delivery: StreamDelivery) {
    var message = OutBuffer()
    defer { message.free() }
    var taken = 0
    for item in delivery.items {
      server?.delivered(item)
      guard item.hasMessage else { continue }
      taken += item.byteCount
      message.removeAll()
      delivery.append(item, to: &message)
      if let response = try? WatchResponse(message.bytes) { take(response) }
    }
    if taken > 0, watchStream.take(taken) { server?.watchDrained(watchStream) }
  }

  func take(_ response: WatchResponse) {
    if response.created, !creating.isEmpty {
      let id = creating.removeFirst()
      // A refusal does not name its watch.
      if response.canceled { return ended(id, response) }
    }
    guard !response.canceled else { return ended(response.watchID, response) }
    guard !response.events.isEmpty, let target = targets[response.watchID] else { return }
    switch target {
    case .own(let call), .predecessor(let call): advance(call)
    case .observer(let observer): take(response, observer)
    }
  }

  /// The hub has ended a watch: what it wanted is compacted, then things are looked at anew; or it has no room.
  func ended(_ id: Int64, _ response: WatchResponse) {
    guard let target = targets.removeValue(forKey: id) else { return }
    let isCompacted = response.compactRevision != 0
    let why = StatusError(.unknown, response.cancelReason)
    switch target {
    case .own(let call):
      call.ownWatch = nil
      if isCompacted { advance(call) } else { giveUp(call, why) }
    case .predecessor(let call):
      call.predecessorWatch = nil
      if isCompacted { advance(call) } else { giveUp(call, why) }
    case .observer(let observer):
      observer.watch = nil
      if isCompacted { look(observer) } else { end(observer, why) }
    }
  }

  /// What the stream's reactor is sent at the end of the turn.
  func delivery(for stream: ResponseStream) -> StreamDelivery {
    if let open = outbox[stream.address.reactor] { return open }
    let made = StreamDelivery()
    outbox[stream.address.reactor] = made
    return made
  }

  func flush() {
    guard !outbox.isEmpty else { return }
    for (reactor, delivery) in outbox { sink.deliver(delivery, to: reactor) }
    outbox.removeAll()
  }
}
