// Messages of watch streams, whichever face they came from.
import NeedletailMVCC
import NeedletailRPC

extension KVServer {
  /// Takes a message of a stream. `revision` is the store's as the caller sees it. Answers come as deliveries for the
  /// stream, and each message is counted there as taken.
  package func watch(
    _ body: UnsafeRawBufferPointer, on stream: ResponseStream, revision: UInt64
  ) throws(StatusError) {
    let request: WatchRequestView
    do { request = try WatchRequestView(body) } catch { throw malformed("WatchRequest", error) }
    switch request {
    case .create(let view): watch.post(.create(stream, WatchCreate(view), revision: revision))
    case .cancel(let watchID): watch.post(.cancel(stream, watchID: watchID))
    case .progress: watch.post(.progress(stream, revision: revision))
    case .none: watch.post(.nothing(stream))
    }
  }

  /// The stream is over: nothing more is wanted.
  package func endWatch(_ stream: ResponseStream) { watch.post(.closed(stream)) }

  /// The stream's client has taken what the server waited for.
  package func watchDrained(_ stream: ResponseStream) { watch.post(.drained(stream)) }

  /// A delivery's item is in its connection's buffer, or will never be.
  package func delivered(_ item: StreamDelivery.Item) {
    if item.eventCount > 0 { watch.figures.pendingEvents.wrappingSubtract(item.eventCount, ordering: .relaxed) }
  }
}
