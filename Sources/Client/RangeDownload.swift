// Reading a range of any size piece by piece: KV.RangeStream over a connection of its own, so that who reads slowly holds up
// nobody else, and the server makes no more than the connection takes.
//
// All pieces are of one revision, which is asked for first. So a reading that lost its connection goes on behind the last
// pair, on this server or another.

import NeedletailRPC

/// Where a reading is. The caller's thread alone uses it.
struct RangeDownload {
  private let endpoints: [Endpoint]
  private let timeout: Duration?
  private let dialTimeout: Duration
  private var request: RangeRequest
  private var at: Int
  /// What the first answer said: of the whole range.
  private var total: RangeResponse?
  private var given: Int64 = 0
  private var failuresInRow = 0

  /// - Parameter timeout: for each piece.
  init(_ endpoints: [Endpoint], _ request: RangeRequest, timeout: Duration?, dialTimeout: Duration, first: Int) {
    self.endpoints = endpoints
    self.request = request
    self.timeout = timeout
    self.dialTimeout = dialTimeout
    at = first % endpoints.count
  }

  private enum Step {
    case over(RangeResponse)
    case stopped
  }

  /// Gives all pairs to `take`, which stops the reading by answering false; then it is nil. The answer is that of a Range,
  /// without the pairs.
  mutating func run(_ take: ([KeyValue]) -> Bool) throws(ClientError) -> RangeResponse? {
    while true {
      do throws(ClientError) {
        switch try attempt(take) {
        case .over(let answer): return answer
        case .stopped: return nil
        }
      } catch {
        guard passes(error), failuresInRow < 2 * endpoints.count else { throw error }
        failuresInRow += 1
        at = (at + 1) % endpoints.count
      }
    }
  }

  /// Whether another try may go better.
  private func passes(_ error: ClientError) -> Bool {
    switch error {
    case .disconnected, .unreachable, .outcomeUnknown: true
    case .server(let status): status.code == .unavailable
    default: false
    }
  }

  private mutating func attempt(_ take: ([KeyValue]) -> Bool) throws(ClientError) -> Step {
    let connection = try ClientConnection.connect(to: endpoints[at], deadline: Instant.now + dialTimeout)
    defer { connection.close() }
    let whole: RangeResponse
    if let total { whole = total } else { whole = try ask(connection) }
    total = whole
    if request.revision <= 0 { request.revision = whole.header.revision }
    // All that was wanted had come when the connection was lost.
    if request.limit < 0 { return .over(summary(whole, more: whole.count > given)) }
    _ = request.encoded().withUnsafeBytes { connection.submit(.rangeStream, encoded: $0) }
    while true {
      let answer = try receive(connection)
      let piece: RangeResponse
      do { piece = try RangeResponse(streamed: answer.body) } catch {
        throw connection.reject("broken answer: \(error)")
      }
      failuresInRow = 0
      if !piece.kvs.isEmpty {
        guard take(piece.kvs) else { return .stopped }
        advance(behind: piece.kvs)
      }
      if answer.isEndOfStream { return .over(summary(whole, more: piece.more)) }
    }
  }

  /// The revision to read at, and how many keys the whole range has: no walk for the server.
  private func ask(_ connection: ClientConnection) throws(ClientError) -> RangeResponse {
    var counting = RangeRequest(request.keys)
    counting.revision = request.revision
    counting.serializable = request.serializable
    counting.countOnly = true
    _ = counting.encoded().withUnsafeBytes { connection.submit(.range, encoded: $0) }
    let answer = try receive(connection)
    do {
      return try RangeResponse(answer.body)
    } catch {
      throw connection.reject("broken answer: \(error)")
    }
  }

  private func receive(_ connection: ClientConnection) throws(ClientError) -> Answer {
    let answer = try connection.receive(deadline: timeout.map { Instant.now + $0 } ?? .never)
    if let error = answer.error { throw .server(error) }
    return answer
  }

  /// What is left to read, should the connection be lost now.
  private mutating func advance(behind pairs: [KeyValue]) {
    guard let last = pairs.last else { return }
    given += Int64(pairs.count)
    let (start, end) = request.keys.bounds
    if end.isEmpty {
      // The one key has been read: nothing is left.
      request.keys = .range(last.key, end: last.key)
    } else if request.sortOrder == .descend {
      request.keys = .range(start, end: last.key)
    } else {
      request.keys = end == [0] ? .from(last.key + [0]) : .range(last.key + [0], end: end)
    }
    guard request.limit > 0 else { return }
    request.limit -= Int64(pairs.count)
    // Nothing more is wanted; 0 would be no limit.
    if request.limit == 0 { request.limit = -1 }
  }

  private func summary(_ whole: RangeResponse, more: Bool) -> RangeResponse {
    var summary = whole
    summary.more = more
    return summary
  }
}

extension RangeResponse {
  /// RangeStreamResponse {range_response 1}.
  fileprivate init(streamed message: UnsafeRawBufferPointer) throws(ProtoError) {
    self.init()
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      if tag.field == 1 { self = try RangeResponse(reader.bytes(tag)) } else { try reader.skip(tag) }
    }
  }
}

extension BlockingClient {
  /// Reads a range of any size, in the order of keys, piece by piece, all of one revision. `take` gets the pairs and stops
  /// the reading by answering false. The answer is that of a Range without the pairs; nil where it was stopped. What `timeout`
  /// bounds is each piece, not the whole.
  @discardableResult
  package func readRange(_ request: RangeRequest, _ take: ([KeyValue]) -> Bool) throws(ClientError) -> RangeResponse? {
    var download = RangeDownload(
      endpoints, request, timeout: timeout, dialTimeout: dialTimeout, first: Int.random(in: endpoints.indices))
    return try download.run(take)
  }
}
