// Every error that etcd's clients can be given by the calls that exist, over a real socket: code and text to the letter.
import NeedletailClient
import NeedletailMVCC
import NeedletailRPC
import NeedletailServer
import Testing

/// One refused request.
private struct Refusal {
  let method: NeedletailRPC.Method
  let body: Bytes
  let code: StatusCode
  let text: String

  init(_ method: NeedletailRPC.Method, _ body: Bytes, _ code: StatusCode, _ text: String) {
    self.method = method
    self.body = body
    self.code = code
    self.text = text
  }
}

private enum Text {
  static let key = "etcdserver: key is not provided"
  static let noKey = "etcdserver: key not found"
  static let value = "etcdserver: value is provided"
  static let leaseGiven = "etcdserver: lease is provided"
  static let noLease = "etcdserver: requested lease not found"
  static let sort = "etcdserver: invalid sort option"
  static let future = "etcdserver: mvcc: required revision is a future revision"
  static let compacted = "etcdserver: mvcc: required revision has been compacted"
  static let operations = "etcdserver: too many operations in txn request"
  static let duplicate = "etcdserver: duplicate key given in txn request"
  static let large = "etcdserver: request is too large"
  static let noSpace = "etcdserver: mvcc: database space exceeded"
  static let corrupt = "etcdserver: corrupt cluster"
}

@Suite(.serialized) struct ErrorTests {
  private static let key: Bytes = [107]

  private static func put(_ adjust: (inout PutRequest) -> Void = { _ in }) -> PutRequest {
    var request = PutRequest(key: key, value: [1])
    adjust(&request)
    return request
  }

  private static func range(_ adjust: (inout RangeRequest) -> Void = { _ in }) -> RangeRequest {
    var request = RangeRequest(.key(key))
    adjust(&request)
    return request
  }

  /// A range request with a sort option that etcd has not: order 9.
  private static let badSort: Bytes = [0x0a, 1, 107, 0x28, 9]

  private static let ranges = [
    Refusal(.range, [], .invalidArgument, Text.key),
    Refusal(.range, [0x12, 1, 0], .invalidArgument, Text.key),
    Refusal(.range, badSort, .invalidArgument, Text.sort),
    Refusal(.range, [0x0a, 1, 107, 0x30, 9], .invalidArgument, Text.sort),
    Refusal(.range, range { $0.revision = 100 }.encoded(), .outOfRange, Text.future),
    Refusal(.range, range { $0.revision = 4 }.encoded(), .outOfRange, Text.compacted),
  ]

  private static let writes = [
    Refusal(.put, [], .invalidArgument, Text.key),
    Refusal(.put, put { $0.ignoreValue = true }.encoded(), .invalidArgument, Text.value),
    Refusal(
      .put,
      put {
        $0.ignoreLease = true
        $0.lease = 5
      }.encoded(), .invalidArgument, Text.leaseGiven),
    Refusal(
      .put,
      put {
        $0.key = [1]
        $0.value = []
        $0.ignoreValue = true
      }.encoded(), .invalidArgument, Text.noKey),
    Refusal(
      .put,
      put {
        $0.key = [1]
        $0.ignoreLease = true
      }.encoded(), .invalidArgument, Text.noKey),
    Refusal(.put, put { $0.lease = 77 }.encoded(), .notFound, Text.noLease),
    Refusal(.put, put { $0.value = Bytes(repeating: 1, count: 1_600_000) }.encoded(), .invalidArgument, Text.large),
    Refusal(.deleteRange, [], .invalidArgument, Text.key),
    Refusal(.compact, CompactionRequestView(100).encoded(), .outOfRange, Text.future),
    Refusal(.compact, CompactionRequestView(5).encoded(), .outOfRange, Text.compacted),
    Refusal(.compact, CompactionRequestView(0).encoded(), .outOfRange, Text.compacted),
    Refusal(.compact, CompactionRequestView(-1).encoded(), .outOfRange, Text.compacted),
  ]

  private static func txn(_ operations: [TxnOperation], if compares: [Compare] = []) -> Bytes {
    TxnRequest(if: compares, then: operations).encoded()
  }

  private static var transactions: [Refusal] {
    let many = (0..<129).map { i in TxnOperation.put(put { $0.key = [UInt8(i)] }) }
    let gets = (0..<100).map { _ in TxnOperation.range(range()) }
    let missing = TxnOperation.put(
      put {
        $0.key = [1]
        $0.value = []
        $0.ignoreValue = true
      })
    return [
      Refusal(.txn, txn(many), .invalidArgument, Text.operations),
      Refusal(.txn, txn(gets + [.txn(TxnRequest(then: gets))]), .invalidArgument, Text.operations),
      Refusal(.txn, txn([.put(put()), .put(put())]), .invalidArgument, Text.duplicate),
      Refusal(
        .txn, txn([.put(put()), .deleteRange(DeleteRangeRequest(.prefix(key)))]), .invalidArgument, Text.duplicate),
      Refusal(.txn, txn([.put(put()), .txn(TxnRequest(else: [.put(put())]))]), .invalidArgument, Text.duplicate),
      Refusal(.txn, txn([], if: [Compare(.key([]), .equal, .version(0))]), .invalidArgument, Text.key),
      Refusal(.txn, txn([.put(put { $0.key = [] })]), .invalidArgument, Text.key),
      Refusal(.txn, txn([.range(range { $0.keys = .key([]) })]), .invalidArgument, Text.key),
      Refusal(.txn, txn([.deleteRange(DeleteRangeRequest(.key([])))]), .invalidArgument, Text.key),
      Refusal(.txn, txn([.put(put { $0.ignoreValue = true })]), .invalidArgument, Text.value),
      Refusal(
        .txn,
        txn([
          .put(
            put {
              $0.ignoreLease = true
              $0.lease = 5
            })
        ]), .invalidArgument, Text.leaseGiven),
      Refusal(.txn, txn([missing]), .invalidArgument, Text.noKey),
      Refusal(.txn, txn([.put(put { $0.lease = 77 })]), .notFound, Text.noLease),
      Refusal(.txn, txn([.put(put()), .range(range { $0.revision = 100 })]), .outOfRange, Text.future),
      Refusal(.txn, txn([.range(range { $0.revision = 100 })]), .outOfRange, Text.future),
      Refusal(.txn, txn([.put(put()), .range(range { $0.revision = 4 })]), .outOfRange, Text.compacted),
      Refusal(.txn, txn([.range(range { $0.revision = -1 })]), .outOfRange, Text.compacted),
      // success {request_range} with an order that is none.
      Refusal(.txn, [0x12, 7, 0x0a, 5] + badSort, .invalidArgument, Text.sort),
    ]
  }

  private static let leases = [
    Refusal(
      .leaseGrant, LeaseRequestView.grant(id: 5, ttl: 10).encoded(), .failedPrecondition,
      "etcdserver: lease already exists"),
    Refusal(
      .leaseGrant, LeaseRequestView.grant(id: 6, ttl: 9_000_000_001).encoded(), .outOfRange,
      "etcdserver: too large lease TTL"),
    Refusal(.leaseRevoke, LeaseRequestView(77).encoded(), .notFound, Text.noLease),
  ]

  private static let maintenance = [
    Refusal(.hashKV, HashKVRequestView(100).encoded(), .outOfRange, Text.future),
    Refusal(.hashKV, HashKVRequestView(4).encoded(), .outOfRange, Text.compacted),
    Refusal(.alarm, [0x08, 7], .invalidArgument, "needletail: unknown alarm action 7"),
    Refusal(.alarm, [0x18, 7], .invalidArgument, "needletail: unknown alarm type 7"),
  ]

  private static let alarmed = [
    Refusal(.put, put().encoded(), .resourceExhausted, Text.noSpace),
    Refusal(.txn, txn([.put(put())]), .resourceExhausted, Text.noSpace),
    Refusal(.leaseGrant, LeaseRequestView.grant(id: 9, ttl: 10).encoded(), .resourceExhausted, Text.noSpace),
  ]

  private static let corrupted = [
    Refusal(.put, put().encoded(), .dataLoss, Text.corrupt),
    Refusal(.deleteRange, DeleteRangeRequest(.key(key)).encoded(), .dataLoss, Text.corrupt),
    Refusal(.txn, txn([.put(put())]), .dataLoss, Text.corrupt),
    Refusal(.compact, CompactionRequestView(6).encoded(), .dataLoss, Text.corrupt),
    Refusal(.leaseGrant, LeaseRequestView.grant(id: 9, ttl: 10).encoded(), .dataLoss, Text.corrupt),
    Refusal(.leaseRevoke, LeaseRequestView(5).encoded(), .dataLoss, Text.corrupt),
  ]

  /// Sends one request and takes its answer.
  private final class Connection {
    private let socket: PlainSocket
    private var stream: UInt32 = 0

    init(_ server: RunningServer) throws {
      socket = try PlainSocket(server.port)
      try socket.send(preface)
      _ = try socket.frame()
    }

    func call(_ method: NeedletailRPC.Method, _ body: Bytes) throws -> (status: UInt32, body: Bytes) {
      stream += 1
      try socket.send(frame(method, body, stream: stream))
      let (header, answer) = try socket.frame()
      #expect(header.stream == stream)
      return (header.status, answer)
    }

    func succeed(_ method: NeedletailRPC.Method, _ body: Bytes) throws {
      let answer = try call(method, body)
      try #require(answer.status == 0, "\(method): \(String(decoding: answer.body, as: UTF8.self))")
    }

    func check(_ refusals: [Refusal]) throws {
      for (at, refusal) in refusals.enumerated() {
        let answer = try call(refusal.method, refusal.body)
        let text = String(decoding: answer.body, as: UTF8.self)
        #expect(
          answer.status == refusal.code.rawValue && text == refusal.text,
          "\(refusal.method) number \(at): \(answer.status) \(text)")
      }
    }
  }

  @Test(arguments: NativeFaceTests.kinds) func everyErrorHasItsCodeAndText(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    defer { server.stop() }
    let connection = try Connection(server)
    // A store that was never compacted takes revision 0, once.
    try connection.succeed(.compact, CompactionRequestView(0).encoded())
    try connection.check([Refusal(.compact, CompactionRequestView(0).encoded(), .outOfRange, Text.compacted)])
    for _ in 0..<9 { try connection.succeed(.put, ErrorTests.put().encoded()) }
    try connection.succeed(.leaseGrant, LeaseRequestView.grant(id: 5, ttl: 10_000).encoded())
    try connection.succeed(.compact, CompactionRequestView(5).encoded())
    for refusals in [
      ErrorTests.ranges, ErrorTests.writes, ErrorTests.transactions, ErrorTests.leases, ErrorTests.maintenance,
    ] {
      try connection.check(refusals)
    }
    for (kind, refusals) in [(Int32(1), ErrorTests.alarmed), (2, ErrorTests.corrupted)] {
      try connection.succeed(.alarm, AlarmRequestView(.activate, AlarmMember(memberID: 3, alarm: kind)).encoded())
      try connection.check(refusals)
    }
    // None of these changed anything.
    let answer = try connection.call(.range, ErrorTests.range().encoded())
    #expect(try answer.body.withUnsafeBytes { try RangeResponse($0) }.header.revision == 10)
  }

  @Test func tooManyProposalsAndTooLargeAnswers() throws {
    let server = try RunningServer(.auto) {
      $0.singleNode.pendingBytesLimit = 100_000
      $0.answerLimit = 200_000
    }
    defer { server.stop() }
    let connection = try Connection(server)
    let busy = "etcdserver: too many requests"
    let large = ErrorTests.put { $0.value = Bytes(repeating: 1, count: 100_001) }
    try connection.check([Refusal(.put, large.encoded(), .unknown, busy)])
    for i in 0..<3 {
      let value = Bytes(repeating: 1, count: 90_000)
      try connection.succeed(.put, PutRequest(key: [UInt8(i)], value: value).encoded())
    }
    let everything = TxnOperation.range(RangeRequest(.all))
    let tooLarge = "needletail: the answer is larger than 200000 bytes; ask with a limit"
    try connection.check([
      Refusal(.txn, ErrorTests.txn([everything]), .resourceExhausted, tooLarge),
      // What the transaction changed stands: only running it shows how large its answer is.
      Refusal(.txn, ErrorTests.txn([.put(ErrorTests.put()), everything]), .resourceExhausted, tooLarge),
    ])
    let answer = try connection.call(.range, ErrorTests.range().encoded())
    #expect(try answer.body.withUnsafeBytes { try RangeResponse($0) }.kvs.first?.modRevision == 5)
    // The connection and the server go on.
    try connection.succeed(.put, ErrorTests.put().encoded())
  }

  @Test func aStoppedServerSaysSo() throws {
    let directory = try TemporaryDirectory()
    let running = try RunningNode(directory.path)
    running.node.stop()
    let refusal = #expect(throws: StatusError.self) { _ = try running.propose(put: [1], [1]) }
    #expect(refusal?.code == .unavailable && refusal?.message == "etcdserver: server stopped")
  }
}
