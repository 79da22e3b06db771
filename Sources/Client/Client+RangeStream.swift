// Large ranges with async/await.

import Glibc
import NeedletailRPC

/// Pairs of a range, in pieces of about 256 KiB, all of one revision; in the order of keys, or against it. What the server
/// sends ahead of its reader is bounded: about a mebibyte here, and what the connection holds. Leaving the loop, or cancelling
/// its task, ends the reading.
public struct RangePieces: AsyncSequence, Sendable {
  public typealias Element = [KeyValue]
  private let handle: RangeHandle

  fileprivate init(_ handle: RangeHandle) { self.handle = handle }

  public struct AsyncIterator: AsyncIteratorProtocol {
    fileprivate let handle: RangeHandle

    public mutating func next() async throws -> [KeyValue]? { try await handle.next() }
  }

  /// What comes is given once, whoever asks.
  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(handle: handle) }
}

/// The reader's end.
private final class RangeHandle: Sendable {
  private let channel: BoundedChannel<[KeyValue]>

  init(_ channel: BoundedChannel<[KeyValue]>) { self.channel = channel }

  deinit { channel.abandon() }

  func next() async throws -> [KeyValue]? {
    try await withTaskCancellationHandler {
      // The sender waits for room by itself.
      try await channel.next {}
    } onCancel: {
      channel.abandon()
    }
  }
}

extension Client {
  /// Reads a range of any size. A request that sorts by anything but the key is refused by the server. A lost connection is
  /// made again, and the reading goes on where it was.
  ///
  ///     for try await pairs in client.rangeStream(RangeRequest(.prefix(key))) { … }
  public func rangeStream(_ request: RangeRequest) -> RangePieces {
    let channel = BoundedChannel<[KeyValue]>(bytesMax: 1 << 20)
    let download = RangeDownload(
      endpoints, request, timeout: timeout, dialTimeout: dialTimeout, first: Int.random(in: endpoints.indices))
    if !RangeThread.start(download, channel) {
      channel.finish(throwing: ClientError.unreachable("no thread is to be had"))
    }
    return RangePieces(RangeHandle(channel))
  }
}

/// The thread that reads one range: it waits where its reader does.
private final class RangeThread {
  private var download: RangeDownload
  private let channel: BoundedChannel<[KeyValue]>

  private init(_ download: RangeDownload, _ channel: BoundedChannel<[KeyValue]>) {
    self.download = download
    self.channel = channel
  }

  /// False where the system has no thread to give.
  static func start(_ download: RangeDownload, _ channel: BoundedChannel<[KeyValue]>) -> Bool {
    let box = Unmanaged.passRetained(RangeThread(download, channel))
    var thread = pthread_t()
    let code = pthread_create(
      &thread, nil,
      { argument in
        if let argument { Unmanaged<RangeThread>.fromOpaque(argument).takeRetainedValue().run() }
        return nil
      }, box.toOpaque())
    guard code == 0 else {
      box.release()
      return false
    }
    pthread_detach(thread)
    return true
  }

  private func run() {
    do {
      _ = try download.run { pairs in
        let size = pairs.reduce(0) { $0 + 128 + $1.key.count + $1.value.count }
        return channel.send(pairs, size: size) || channel.waitForRoom()
      }
      channel.finish()
    } catch {
      channel.finish(throwing: error)
    }
  }
}
