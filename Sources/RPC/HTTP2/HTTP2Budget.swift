// What a client may send that is no request, or none that lasts: pings, settings, resets. grpc-go's rules for pings.
package struct HTTP2Budget {
  /// When anything came last.
  var heard_ms: UInt64 = 0
  private var ping_ms: UInt64 = 0
  private var strikes = 0
  /// Something was sent since the last ping: it may be one that measures.
  var hasSent = true
  private var settings = 0
  private var settingsSince_ms: UInt64 = 0
  /// Resets that are not paid for by time that has passed.
  private var resets: UInt64 = 0
  private var resetsSince_ms: UInt64 = 0
  /// A ping of ours that is not answered.
  var pinged_ms: UInt64 = 0
  var isSpent = false
  private(set) var why: StaticString = ""

  mutating func ping(_ now_ms: UInt64, hasStreams: Bool, _ limits: HTTP2Limits) {
    defer { ping_ms = now_ms }
    if hasSent {
      hasSent = false
      strikes = 0
      return
    }
    let interval = hasStreams ? limits.pingInterval_ms : limits.idlePingInterval_ms
    guard ping_ms + interval > now_ms else { return }
    strikes += 1
    if strikes > limits.pingStrikes { spend("too_many_pings") }
  }

  mutating func settings(_ now_ms: UInt64, _ limits: HTTP2Limits) {
    if now_ms - settingsSince_ms > 10_000 {
      settingsSince_ms = now_ms
      settings = 0
    }
    settings += 1
    if settings > limits.settings { spend("too_many_settings") }
  }

  /// A client that gives up on a request costs the server a request: it may do so, but not for a living.
  mutating func reset(_ now_ms: UInt64, _ limits: HTTP2Limits) {
    let paid = (now_ms &- resetsSince_ms) &* limits.resetsPerSecond / 1_000
    if paid > 0 {
      resets -= min(resets, paid)
      resetsSince_ms = now_ms
    }
    resets += 1
    if resets > limits.resetBurst { spend("too_many_resets") }
  }

  private mutating func spend(_ why: StaticString) {
    isSpent = true
    self.why = why
  }
}
