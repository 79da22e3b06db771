// One call of the Lock or Election service on its way, as the recipe thread keeps it.
import NeedletailRPC

/// The recipe thread alone touches it.
final class RecipeCall {
  enum Step {
    /// A lease of its own is being granted.
    case granting
    /// The transaction that takes the place is on its way.
    case entering
    /// The place was its lease's before: it is being shown another value.
    case showing
    /// Behind others.
    case waiting
    /// A write whose answer is the call's.
    case writing
  }

  let number: UInt32
  let request: RecipeRequest
  let reply: ReplyAddress
  var step = Step.entering
  var lease: Int64
  var place: QueuePlace?
  /// The header of the transaction that took the place.
  var entered = ResponseHeader()
  /// Whether it has been behind others.
  var hasWaited = false
  /// Watches of its own key and of the one before, while it waits.
  var ownWatch: Int64?
  var predecessorWatch: Int64?
  /// Nobody waits for its answer any more.
  var isAbandoned = false

  init(_ number: UInt32, _ request: RecipeRequest, _ reply: ReplyAddress) {
    self.number = number
    self.request = request
    self.reply = reply
    switch request {
    case .lock(_, let lease), .campaign(_, let lease, _): self.lease = lease
    case .proclaim(let leader, _), .resign(let leader): lease = leader.lease
    case .unlock: lease = 0
    }
  }

  var isCampaign: Bool { if case .campaign = request { true } else { false } }

  /// What the place shows.
  var value: [UInt8] {
    switch request {
    case .campaign(_, _, let value), .proclaim(_, let value): value
    default: []
    }
  }
}

/// One Observe call. The recipe thread alone touches it.
final class LeaderObserver {
  /// Bytes on their way to a client that does not take them, beyond which nothing more is sent.
  static let budget = 64 << 10

  let stream: ResponseStream
  let prefix: [UInt8]
  let prefixEnd: [UInt8]
  /// The key that leads; nil while nobody does.
  var leader: [UInt8]?
  /// The first revision not seen.
  var next: UInt64 = 0
  var watch: Int64?
  var postedBytes = 0
  /// Waits for its client to take what it was sent; then it goes on from `next`.
  var isPaused = false

  init(_ stream: ResponseStream, name: [UInt8]) {
    self.stream = stream
    (prefix, prefixEnd) = QueuePlace.bounds(name)
  }

  var outstandingBytes: Int { postedBytes - stream.takenBytes }
}
