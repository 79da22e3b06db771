// What a thread sends on streams of one reactor, all in one mail: heads of messages end to end, and events by reference. The
// reactor copies each message's bytes once, from the shared run into the connection's buffer, in its face's framing.
import NeedletailBytes
import NeedletailRPC

/// Filled by one thread, then handed to a reactor, which only reads it. Sendable for that.
package final class StreamDelivery: @unchecked Sendable {
  package struct Item {
    package let stream: ResponseStream
    /// Requests of the stream that have been looked at since the last item.
    package var requestsTaken: Int32
    /// Whether there is a message: `head`, then the events.
    package var hasMessage: Bool
    /// The stream is over: the message is an error's text, and nothing follows.
    package let endCode: StatusCode?
    fileprivate var headStart: Int
    fileprivate var headCount: Int
    fileprivate var run: EventRun?
    fileprivate var from: Int
    fileprivate var to: Int
    package let eventCount: Int
    /// What the message counts against the stream's budget.
    package var byteCount: Int { headCount + to - from + StreamDelivery.framing }
  }

  /// What a face puts around a message, about.
  static let framing = 16

  package private(set) var items: [Item] = []
  private var heads = OutBuffer()

  init() {}

  deinit { heads.free() }

  /// Adds a message: `head` appends its first fields, the events behind them are [from, to) of the run's bytes. Returns
  /// what it counts.
  func add(
    _ stream: ResponseStream, run: EventRun? = nil, from: Int = 0, to: Int = 0, events: Int = 0,
    _ head: (inout OutBuffer) -> Void
  ) -> Int {
    let start = heads.count
    head(&heads)
    let item = Item(
      stream: stream, requestsTaken: 0, hasMessage: true, endCode: nil, headStart: start,
      headCount: heads.count - start, run: run, from: from, to: to, eventCount: events)
    items.append(item)
    return item.byteCount
  }

  func addTaken(_ stream: ResponseStream, requests: Int32) {
    items.append(
      Item(
        stream: stream, requestsTaken: requests, hasMessage: false, endCode: nil, headStart: 0, headCount: 0,
        run: nil, from: 0, to: 0, eventCount: 0))
  }

  /// Ends the stream with an error.
  func addEnd(_ stream: ResponseStream, _ code: StatusCode, _ text: String) {
    let start = heads.count
    heads.append(text)
    items.append(
      Item(
        stream: stream, requestsTaken: 0, hasMessage: true, endCode: code, headStart: start,
        headCount: heads.count - start, run: nil, from: 0, to: 0, eventCount: 0))
  }

  /// Appends the item's message.
  package func append(_ item: Item, to out: inout OutBuffer) {
    out.append(UnsafeRawBufferPointer(rebasing: heads.bytes[item.headStart..<(item.headStart + item.headCount)]))
    if let run = item.run { out.append(UnsafeRawBufferPointer(rebasing: run.bytes[item.from..<item.to])) }
  }
}
