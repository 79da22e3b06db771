// Watching with async/await.

import NeedletailRPC

/// Responses of one watch, in order, without gap or duplicate, over lost connections and servers: with `created` the first,
/// then events, and progress where it was asked for. It ends with an error: `ClientError.compacted` where the server no
/// longer has what comes next, `.server` where the watch was refused, `.closed` with the client. Leaving the loop, or
/// cancelling its task, cancels the watch.
///
/// While nobody asks for the next response about a mebibyte of events is kept here. Beyond that the watch pauses, and
/// goes on from the server's history where it stopped when half of it has been taken: a reader who is slow for so long that
/// this history is compacted meets `ClientError.compacted`.
public struct WatchResponses: AsyncSequence, Sendable {
  public typealias Element = WatchResponse
  private let handle: WatchHandle

  fileprivate init(_ handle: WatchHandle) { self.handle = handle }

  public struct AsyncIterator: AsyncIteratorProtocol {
    fileprivate let handle: WatchHandle

    public mutating func next() async throws -> WatchResponse? { try await handle.next() }
  }

  /// What comes is given once, whoever asks.
  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(handle: handle) }
}

/// The reader's end: the watch is over when it goes.
private final class WatchHandle: Sendable {
  private let driver: ClientDriver
  private let name: WatchName
  private let channel: BoundedChannel<WatchResponse>

  init(_ driver: ClientDriver, _ name: WatchName, _ channel: BoundedChannel<WatchResponse>) {
    self.driver = driver
    self.name = name
    self.channel = channel
  }

  deinit { cancel() }

  func next() async throws -> WatchResponse? {
    try await withTaskCancellationHandler {
      try await channel.next { [driver, name] in
        driver.run { loop in
          if let watch = name.watch { loop.watches.resume(watch) }
        }
      }
    } onCancel: {
      cancel()
    }
  }

  private func cancel() {
    channel.abandon()
    let name = name
    driver.run { loop in
      name.isOver = true
      if let watch = name.watch { loop.watches.cancel(watch) }
    }
  }
}

extension Client {
  /// Bytes of events that wait for their reader, about.
  static var watchBytes: Int { 1 << 20 }

  /// Begins a watch; its events can be read from the sequence, once.
  ///
  ///     for try await response in client.watch(WatchRequest(.prefix(key))) { … response.events … }
  public func watch(_ request: WatchRequest) -> WatchResponses {
    let name = WatchName()
    let channel = BoundedChannel<WatchResponse>(bytesMax: Client.watchBytes)
    let isTaken = driver.run { loop in
      guard !name.isOver else { return }
      let watches = loop.watches
      name.watch = watches.watch(request) { [unowned watches, weak name] response in
        // A refusal comes as the error.
        guard !response.canceled else { return }
        let hasRoom = channel.send(response, size: response.roughSize)
        if !hasRoom, let watch = name?.watch { watches.pause(watch) }
      } ended: {
        channel.finish(throwing: $0)
      }
    }
    if !isTaken { channel.finish(throwing: ClientError.closed) }
    return WatchResponses(WatchHandle(driver, name, channel))
  }

  /// Asks the server how far it is: every watch of this client gets a response without events once it has been sent
  /// everything up to there.
  public func requestWatchProgress() { _ = driver.run { $0.watches.requestProgress() } }
}

extension WatchResponse {
  /// About what it takes in memory.
  fileprivate var roughSize: Int {
    events.reduce(128) { sum, event in
      sum + 192 + event.kv.key.count + event.kv.value.count + (event.prevKV.map { $0.key.count + $0.value.count } ?? 0)
    }
  }
}

/// What the client's thread knows of a watch. Unchecked: that thread alone touches it.
private final class WatchName: @unchecked Sendable {
  var watch: WatchSession.Watch?
  var isOver = false
}
