// Where a call stands in its queue, and how it ends.
import NeedletailBackend
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC

extension RecipeThread {
  // MARK: Waiting

  enum Standing {
    /// The place is gone.
    case lost
    case first(ResponseHeader)
    case behind([UInt8], at: UInt64)
  }

  /// Looks where the call stands: it is answered, or waits for the one before it.
  func advance(_ call: RecipeCall) {
    guard let place = call.place else { return }
    if call.isAbandoned { return forget(call) }
    do throws(StatusError) {
      switch try standing(place) {
      case .lost: fail(call, call.isCampaign ? .notLeader : .sessionExpired)
      case .first(let header): won(call, place, header)
      case .behind(let key, let revision): wait(call, place, for: key, after: revision)
      }
    } catch {
      giveUp(call, error)
    }
  }

  func standing(_ place: QueuePlace) throws(StatusError) -> Standing {
    try withView { (view) throws(StatusError) in
      let own = try pairs(view, place.key, []) { $0.keysOnly = true }.first
      guard own?.createRevision == place.revision else { return .lost }
      let before = try pairs(view, place.prefix, place.prefixEnd) { query in
        query.maxCreateRevision = place.revision - 1
        query.target = .createRevision
        query.order = .descend
        query.limit = 1
        query.keysOnly = true
      }
      // No revision lies before the first that a key can have.
      guard place.revision > 1, let last = before.first else { return .first(header(view)) }
      return .behind(last.key, at: view.word(StoreWord.revision))
    }
  }

  func pairs(
    _ view: SnapshotView, _ key: [UInt8], _ end: [UInt8], _ adjust: (inout RangeQuery) -> Void
  ) throws(StatusError) -> [KeyValue] {
    var out = OutBuffer()
    defer { out.free() }
    let failure: StatusError? = key.withUnsafeBytes { key in
      end.withUnsafeBytes { end in
        var query = RangeQuery(key: key, rangeEnd: end)
        adjust(&query)
        do throws(MVCCError) {
          try store.wholeRange(view, query, into: &out)
          return nil
        } catch {
          return StatusError(error)
        }
      }
    }
    if let failure { throw failure }
    do { return try RangeResponse(out.bytes).kvs } catch {
      throw StatusError(.internal, "needletail: a broken range: \(error)")
    }
  }

  func wait(_ call: RecipeCall, _ place: QueuePlace, for key: [UInt8], after revision: UInt64) {
    call.step = .waiting
    call.hasWaited = true
    if call.ownWatch == nil { call.ownWatch = watch(place.key, after: revision, skipsPuts: true, for: .own(call)) }
    unwatch(&call.predecessorWatch)
    call.predecessorWatch = watch(key, after: revision, skipsPuts: true, for: .predecessor(call))
  }

  func won(_ call: RecipeCall, _ place: QueuePlace, _ now: ResponseHeader) {
    if call.isCampaign {
      var response = CampaignResponse()
      response.header = call.entered
      response.leader = LeaderKey(
        name: Array(place.prefix.dropLast()), key: place.key, revision: place.revision, lease: call.lease)
      finish(call, response)
    } else {
      var response = LockResponse()
      response.header = call.hasWaited ? now : call.entered
      response.key = place.key
      finish(call, response)
    }
  }

  // MARK: Ends

  func finish(_ call: RecipeCall, _ message: some ProtoEncodable) {
    if !call.isAbandoned { message.encoded().withUnsafeBytes { sink.reply(to: call.reply, status: 0, body: $0) } }
    forget(call)
  }

  func fail(_ call: RecipeCall, _ error: StatusError) {
    if !call.isAbandoned { answer(call, error.asRecipe) }
    forget(call)
  }

  func answer(_ call: RecipeCall, _ error: StatusError) {
    var text = error.message
    text.withUTF8 { sink.reply(to: call.reply, status: error.code.rawValue, body: UnsafeRawBufferPointer($0)) }
  }

  /// The call cannot go on; its place shall not stay in others' way.
  func giveUp(_ call: RecipeCall, _ error: StatusError) {
    fail(call, error)
    if let place = call.place { leave(place) }
  }

  /// Nobody waits for the call any more: it is answered all the same, each address once.
  func abandon(_ call: RecipeCall, _ why: StatusError) {
    answer(call, why)
    release(call)
    call.isAbandoned = true
    guard call.step == .waiting else { return }
    forget(call)
    if let place = call.place { leave(place) }
  }

  /// Takes back what a call that may be given up stands in.
  func release(_ call: RecipeCall) {
    guard !call.isAbandoned else { return }
    if call.reply.isPatient {
      let name = CallName(call.reply)
      if patient[name.connection]?[name.stream] === call {
        patient[name.connection]?[name.stream] = nil
        if patient[name.connection]?.isEmpty ?? false { patient[name.connection] = nil }
      }
    }
    guard let key = call.place?.key, let count = users[key] else { return }
    users[key] = count > 1 ? count - 1 : nil
  }

  func forget(_ call: RecipeCall) {
    guard calls.removeValue(forKey: call.number) != nil else { return }
    release(call)
    unwatch(&call.ownWatch)
    unwatch(&call.predecessorWatch)
    callCount.wrappingSubtract(1, ordering: .relaxed)
    byteCount.wrappingSubtract(call.request.byteCount, ordering: .relaxed)
  }

  /// Gives a place up that no other call stands in.
  func leave(_ place: QueuePlace) {
    guard users[place.key] == nil else { return }
    let number = nextNumber()
    leaving[number] = place
    guard let refusal = propose(place.leaving, number, RecipeThread.transact) else { return }
    leaving[number] = nil
    leaveLater(place, refusal)
  }

  func left(_ place: QueuePlace, _ status: UInt32, _ body: [UInt8]) {
    guard status != 0 else { return }
    leaveLater(place, StatusError(StatusCode(rawValue: status) ?? .unknown, String(decoding: body, as: UTF8.self)))
  }

  func leaveLater(_ place: QueuePlace, _ why: StatusError) {
    // What passes is waited for; what stays is for the lease to end.
    guard why.code == .unavailable || why == .tooManyRequests || why == .noSpace, why != .stopped else {
      return logger.warning("a place in a queue could not be given up", metadata: ["why": "\(why)"])
    }
    retries.append(place)
  }

  func leaveAgain() {
    guard !retries.isEmpty else { return }
    let places = retries
    retries = []
    for place in places { leave(place) }
  }
}
