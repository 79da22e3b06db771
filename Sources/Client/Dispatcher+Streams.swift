// Streams: opening them where a server answers, and again where the last one was lost.

import Glibc
import NeedletailRPC

extension Dispatcher {
  package func open(_ call: StreamCall) {
    call.waitingSince = .now
    waitingStreams.append(call)
  }

  /// Sends a message on a stream; false where it is not open now, and `opened` will be asked what to send.
  @discardableResult
  package func send(_ body: [UInt8], on call: StreamCall) -> Bool {
    guard let place = call.place, let connection = slots[place.slot].connection else { return false }
    body.withUnsafeBytes { connection.send($0, on: place.stream, call.method) }
    return true
  }

  /// Ends a stream. None of its closures runs any more.
  package func close(_ call: StreamCall) {
    call.isClosed = true
    waitingStreams.removeAll { $0 === call }
    guard let place = call.place, let connection = slots[place.slot].connection else { return }
    // Its last frames are still to come, and go to nobody.
    connection.endStream(place.stream, call.method)
    slots[place.slot].streams[place.stream] = nil
    call.place = nil
  }

  func assignStreams(_ now: Instant) {
    guard !waitingStreams.isEmpty else { return }
    let candidates = waitingStreams
    waitingStreams = []
    for call in candidates where !call.isClosed {
      if call.notBefore > now {
        waitingStreams.append(call)
      } else if let at = openSlot(endpoint: call.endpoint, now) {
        start(call, at)
      } else if let why = unreachable(endpoint: call.endpoint, since: call.waitingSince, now) {
        end(call, why, now)
      } else {
        waitingStreams.append(call)
      }
    }
  }

  private func start(_ call: StreamCall, _ at: Int) {
    guard let connection = slots[at].connection else { return }
    let messages = call.opened()
    guard let first = messages.first else { return waitingStreams.append(call) }
    let stream = first.withUnsafeBytes { connection.openStream(call.method, $0) }
    call.place = (at, stream)
    slots[at].streams[stream] = call
    for message in messages.dropFirst() { send(message, on: call) }
  }

  /// An answer for a stream; false where it is for none.
  func takeForStream(_ answer: Answer, _ at: Int, _ now: Instant) -> Bool {
    guard let call = slots[at].streams[answer.stream] else { return false }
    if answer.error == nil, !answer.isEndOfStream {
      call.failuresInRow = 0
      call.received(answer.body)
      return true
    }
    slots[at].streams[answer.stream] = nil
    call.place = nil
    if let error = answer.error {
      // The server throws away what else was sent until it is told that this was all.
      slots[at].connection?.endStream(answer.stream, call.method)
      end(call, .server(error), now)
    } else {
      if answer.body.count > 0 { call.received(answer.body) }
      end(call, .disconnected("\(slots[at].endpoint) ended the stream"), now)
    }
    return true
  }

  /// The connection of a slot is gone, and its streams with it.
  func loseStreams(_ at: Int, _ error: ClientError, _ now: Instant) {
    let lost = slots[at].streams.sorted { $0.key < $1.key }.map(\.value)
    slots[at].streams = [:]
    for call in lost {
      call.place = nil
      end(call, error, now)
    }
  }

  private func end(_ call: StreamCall, _ error: ClientError, _ now: Instant) {
    guard !call.isClosed else { return }
    guard call.ended(error), !call.isClosed else {
      call.isClosed = true
      return
    }
    call.failuresInRow += 1
    call.waitingSince = now
    call.notBefore = call.failuresInRow == 1 ? now : now + pause(call.failuresInRow - 1)
    waitingStreams.append(call)
  }
}
