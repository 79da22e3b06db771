// Watching with async/await.

import NeedletailRPC

/// Responses of one watch, in order, without gap or duplicate, over lost connections and servers: with `created` the first,
/// then events, and progress where it was asked for. It ends with an error: `ClientError.compacted` where the server no
/// longer has what comes next, `.server` where the watch was refused, `.closed` with the client. Leaving the loop, or
/// cancelling its task, cancels the watch.
///
/// What the server sends while nobody asks for the next response is kept here.
public struct WatchResponses: AsyncSequence, Sendable {
  public typealias Element = WatchResponse
  private let stream: AsyncThrowingStream<WatchResponse, any Error>

  init(_ stream: AsyncThrowingStream<WatchResponse, any Error>) { self.stream = stream }

  public func makeAsyncIterator() -> AsyncThrowingStream<WatchResponse, any Error>.Iterator {
    stream.makeAsyncIterator()
  }
}

extension Client {
  /// Begins a watch; its events can be read from the sequence, once.
  ///
  ///     for try await response in client.watch(WatchRequest(.prefix(key))) { … response.events … }
  public func watch(_ request: WatchRequest) -> WatchResponses {
    let driver = driver
    let name = WatchName()
    return WatchResponses(
      AsyncThrowingStream { continuation in
        continuation.onTermination = { _ in
          driver.run { loop in
            name.isOver = true
            if let watch = name.watch { loop.watches.cancel(watch) }
          }
        }
        let isTaken = driver.run { loop in
          guard !name.isOver else { return }
          name.watch = loop.watches.watch(request) {
            // A refusal comes as the error.
            if !$0.canceled { continuation.yield($0) }
          } ended: {
            continuation.finish(throwing: $0)
          }
        }
        if !isTaken { continuation.finish(throwing: ClientError.closed) }
      })
  }

  /// Asks the server how far it is: every watch of this client gets a response without events once it has been sent
  /// everything up to there.
  public func requestWatchProgress() { _ = driver.run { $0.watches.requestProgress() } }
}

/// What the client's thread knows of a watch. Unchecked: that thread alone touches it.
private final class WatchName: @unchecked Sendable {
  var watch: WatchSession.Watch?
  var isOver = false
}
