// The reactors' threads, from listening sockets to the last connection's end.
import CNeedletail
import Glibc
import Logging
import NeedletailRPC

/// Brings answers of writes to the reactor they belong to.
package final class ReactorSink: ReplySink {
  private let group: ReactorGroup

  package init(_ group: ReactorGroup) { self.group = group }

  package func reply(to address: ReplyAddress, status: UInt32, body: UnsafeRawBufferPointer) {
    group.reply(to: address, status: status, body: body)
  }

  package func deliver(_ delivery: StreamDelivery, to reactor: UInt16) {
    group.mailbox(Int(reactor)).deliver(delivery)
  }
}

package struct ReactorOptions: Sendable {
  package var kind = ReactorKind.auto
  package var count = 1
  package var addresses: [ListenAddress] = []
  package var limits = ReactorLimits()

  package init() {}
}

/// Sendable: set up and stopped by one thread; what the reactors tell it is guarded by the monitor.
package final class ReactorThreads: @unchecked Sendable {
  private let options: ReactorOptions
  private let group: ReactorGroup
  private let logger: Logger
  private let monitor = Monitor()
  private var threads: [Thread] = []
  private var listeners: [Int32]
  /// What each reactor became, in the order they started.
  private var transports: [String] = []
  private var startFailure: ServerError?

  /// Binds the addresses: from here on clients can connect, and wait.
  package init(_ options: ReactorOptions, group: ReactorGroup, logger: Logger) throws(ServerError) {
    self.options = options
    self.group = group
    self.logger = logger
    listeners = []
    for address in options.addresses {
      do { listeners += try address.listen() } catch {
        for listener in listeners { Glibc.close(listener) }
        throw .listen(error)
      }
    }
  }

  /// The ports that TCP listeners got, for addresses with port 0.
  package var ports: [Int] { listeners.map { Int(nt_local_port($0)) }.filter { $0 > 0 } }

  /// Starts all reactors and returns when each of them serves, telling by what transport. `failed` is called when one of
  /// them ends otherwise than by a stop.
  package func start(
    _ context: FaceContext, metrics: [ThreadMetrics], failed: @escaping @Sendable (String) -> Void
  ) throws(ServerError) -> [String] {
    for index in 0..<group.count {
      let mine = index == 0 ? listeners : []
      let thread = try Thread("reactor-\(index)") {
        self.run(index, mine, context, metrics[index], failed)
      }
      threads.append(thread)
    }
    let count = group.count
    monitor.locked {
      while transports.count < count, startFailure == nil { monitor.wait() }
    }
    if let startFailure { throw startFailure }
    return transports
  }

  private func run(
    _ index: Int, _ listeners: [Int32], _ context: FaceContext, _ metrics: ThreadMetrics,
    _ failed: @Sendable (String) -> Void
  ) {
    do throws(ServerError) {
      var faces = try Faces(context, reactor: index, metrics: metrics)
      defer { faces.close() }
      do throws(ReactorError) {
        try Reactor.run(
          options.kind, group: group, index: index, listeners: listeners, limits: options.limits, handler: &faces
        ) { transport in
          monitor.locked {
            transports.append(transport)
            monitor.signal()
          }
        }
      } catch {
        throw .listen(error)
      }
    } catch {
      let isStarting = monitor.locked {
        let isStarting = transports.count < group.count
        if isStarting { startFailure = error }
        monitor.signal()
        return isStarting
      }
      if !isStarting { failed("reactor \(index): \(error)") }
    }
  }

  /// Stops accepting, lets what is in flight finish within the time, and ends the threads. Answers of writes must still
  /// be coming meanwhile.
  package func stop(within_ms: Int32) {
    group.stop(within_ms: within_ms)
    for thread in threads { thread.join() }
    for address in options.addresses { address.cleanUp() }
  }
}
