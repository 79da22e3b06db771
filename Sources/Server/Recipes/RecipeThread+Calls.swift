// A call from its beginning to its place: what it proposes, and what comes of that.
import NeedletailRPC

extension RecipeThread {
  func begin(_ call: RecipeCall) {
    calls[call.number] = call
    if call.reply.isPatient {
      let name = CallName(call.reply)
      // No honest client has two calls on one stream.
      guard patient[name.connection]?[name.stream] == nil else {
        return fail(call, StatusError(.invalidArgument, "needletail: the stream has a call already"))
      }
      patient[name.connection, default: [:]][name.stream] = call
    }
    switch call.request {
    case .lock, .campaign, .proclaim:
      if call.lease == 0 { grant(call) } else { enter(call) }
    case .resign(let leader): write(call, QueuePlace(leader).leaving)
    case .unlock(let key):
      call.step = .writing
      propose(call, RecipeRequest.deletion(of: key)) { (server, body, reply) throws(StatusError) in
        try server.deleteRange(body, reply: reply)
      }
    }
  }

  func grant(_ call: RecipeCall) {
    call.step = .granting
    let body = LeaseRequestView.grant(id: 0, ttl: RecipeThread.leaseTTL).encoded()
    propose(call, body) { (server, body, reply) throws(StatusError) in try server.grantLease(body, reply: reply) }
  }

  func enter(_ call: RecipeCall) {
    let name: [UInt8]
    switch call.request {
    case .proclaim(let leader, let value):
      return write(call, QueuePlace(leader).showing(value, lease: call.lease))
    case .lock(let given, _), .campaign(let given, _, _): name = given
    case .unlock, .resign: return
    }
    let place = QueuePlace(name: name, lease: call.lease)
    call.place = place
    call.step = .entering
    users[place.key, default: 0] += 1
    propose(call, place.entering(call.value, lease: call.lease), RecipeThread.transact)
  }

  func write(_ call: RecipeCall, _ transaction: [UInt8]) {
    call.step = .writing
    propose(call, transaction, RecipeThread.transact)
  }

  typealias Proposing = (KVServer, UnsafeRawBufferPointer, ReplyAddress) throws(StatusError) -> Void

  static func transact(
    _ server: KVServer, _ body: UnsafeRawBufferPointer, _ reply: ReplyAddress
  ) throws(StatusError) {
    try server.change(body, reply: reply)
  }

  func propose(_ call: RecipeCall, _ body: [UInt8], _ way: Proposing) {
    if let refusal = propose(body, call.number, way) { fail(call, refusal) }
  }

  /// Nil where it is on its way.
  func propose(_ body: [UInt8], _ number: UInt32, _ way: Proposing) -> StatusError? {
    guard let server else { return .stopped }
    return body.withUnsafeBytes { bytes in
      do throws(StatusError) {
        try way(server, bytes, RecipeThread.address(number))
        return nil
      } catch {
        return error
      }
    }
  }

  // MARK: Answers to its proposals

  func answered(_ number: UInt32, _ status: UInt32, _ body: [UInt8]) {
    if let place = leaving.removeValue(forKey: number) { return left(place, status, body) }
    guard let call = calls[number] else { return }
    guard status == 0 else {
      let code = StatusCode(rawValue: status) ?? .unknown
      return fail(call, StatusError(code, String(decoding: body, as: UTF8.self)))
    }
    do {
      try body.withUnsafeBytes { body in
        switch call.step {
        case .granting: granted(call, try LeaseResponse(body))
        case .entering: entered(call, try TxnResponse(body))
        case .showing:
          if try TxnResponse(body).succeeded { advance(call) } else { fail(call, .notLeader) }
        case .writing: try written(call, body)
        case .waiting: break
        }
      }
    } catch {
      fail(call, StatusError(.internal, "needletail: a broken answer: \(error)"))
    }
  }

  func granted(_ call: RecipeCall, _ answer: LeaseResponse) {
    call.lease = answer.id
    guard call.isAbandoned else { return enter(call) }
    forget(call)
    // Nobody will know its id; where it can't be revoked now, it ends by itself.
    _ = propose(LeaseRequestView(answer.id).encoded(), 0) { (server, body, reply) throws(StatusError) in
      try server.revokeLease(body, reply: reply)
    }
  }

  func entered(_ call: RecipeCall, _ answer: TxnResponse) {
    guard var place = call.place else { return }
    call.entered = answer.header
    if answer.succeeded {
      place.revision = answer.header.revision
    } else if case .range(let found)? = answer.responses.first, let pair = found.kvs.first {
      place.revision = pair.createRevision
      call.place = place
      // Who has gone leaves a place that was there before its call as it was.
      if call.isAbandoned { return forget(call) }
      if call.isCampaign, pair.value != call.value {
        call.step = .showing
        return propose(call, place.showing(call.value, lease: call.lease), RecipeThread.transact)
      }
    } else {
      return fail(call, StatusError(.internal, "needletail: a place that neither was there nor was taken"))
    }
    call.place = place
    guard !call.isAbandoned else {
      forget(call)
      return leave(place)
    }
    advance(call)
  }

  func written(_ call: RecipeCall, _ body: UnsafeRawBufferPointer) throws(ProtoError) {
    switch call.request {
    case .unlock: finish(call, HeaderResponse(try DeleteRangeResponse(body).header))
    case .proclaim:
      let answer = try TxnResponse(body)
      if answer.succeeded { finish(call, HeaderResponse(answer.header)) } else { fail(call, .notLeader) }
    case .resign, .lock, .campaign: finish(call, HeaderResponse(try TxnResponse(body).header))
    }
  }
}
