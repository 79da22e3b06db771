import Glibc

/// Spare segments: filled with zeros ahead of need, or retired segments under a new name. Writing into blocks that were
/// written before costs half of what a fresh extent costs at every sync.
///
/// With a helper thread the log thread never waits for filling: when no spare is ready it takes a file whose blocks are
/// only reserved. Retired segments are renamed oldest first, each rename durable before the next and before the file
/// is written again: so a crash leaves the log a suffix of its segments, and no old name over new bytes.
///
/// `@unchecked Sendable`: `spares`, `retiring`, `counter`, `failure`, `wanted`, `stopping` are touched under `monitor`
/// only, the rest never changes after init.
final class SegmentPool: @unchecked Sendable {
  struct Spare {
    var name: String
    var isFilled: Bool
  }

  private let device: any LogDevice
  private let segmentSize: UInt64
  private let target: Int
  private let background: Bool
  private let monitor = Monitor()
  private var spares: [String]
  private var retiring: [(name: String, isReusable: Bool)] = []
  private var counter: UInt64
  /// A background failure that is no mere lack of space; the log throws it at its next call.
  private var failure: WALError?
  /// Cleared when filling met a full disk, set again when a spare is asked for or a segment is given back.
  private var wanted = true
  private var stopping = false
  private var thread: pthread_t?

  /// Takes over the spares found in the directory.
  init(
    _ device: any LogDevice, segmentSize: Int, target: Int, background: Bool, spares: [String], nextNumber: UInt64
  ) {
    self.device = device
    self.segmentSize = UInt64(segmentSize)
    self.target = target
    self.background = background
    self.spares = spares
    counter = nextNumber
  }

  /// Starts the helper thread, if there is to be one.
  func start() throws(WALError) {
    guard background, thread == nil else { return }
    var handle = pthread_t()
    let box = Unmanaged.passRetained(self)
    let code = pthread_create(
      &handle, nil,
      { argument in
        guard let argument else { return nil }
        Unmanaged<SegmentPool>.fromOpaque(argument).takeRetainedValue().run()
        return nil
      }, box.toOpaque())
    if code != 0 {
      box.release()
      throw .failed("starting a thread for", "the log", code)
    }
    thread = handle
  }

  /// Stops the helper thread, after what it is doing.
  func stop() {
    monitor.lock()
    stopping = true
    monitor.signal()
    monitor.unlock()
    if let thread { pthread_join(thread, nil) }
    thread = nil
  }

  /// The failure of the helper thread, if any.
  func check() throws(WALError) {
    monitor.lock()
    defer { monitor.unlock() }
    if let failure { throw failure }
  }

  /// A file of the segment's size that is nobody's: filled if one is ready, else reserved now.
  func take() throws(WALError) -> Spare {
    monitor.lock()
    let spare = spares.isEmpty ? nil : spares.removeFirst()
    wanted = true
    monitor.signal()
    monitor.unlock()
    if let spare { return Spare(name: spare, isFilled: true) }
    return Spare(name: try make(filled: !background && target > 0), isFilled: !background && target > 0)
  }

  /// Gives segments back, oldest first. Without a helper thread they are retired on return.
  func retire(_ segments: [(name: String, isReusable: Bool)]) throws(WALError) {
    monitor.lock()
    retiring += segments
    monitor.signal()
    monitor.unlock()
    guard !background else { return }
    while let next = nextRetired() { try retireOne(next.name, next.isReusable) }
  }

  private func nextRetired() -> (name: String, isReusable: Bool)? {
    monitor.lock()
    defer { monitor.unlock() }
    return retiring.isEmpty ? nil : retiring.removeFirst()
  }

  private func retireOne(_ name: String, _ isReusable: Bool) throws(WALError) {
    monitor.lock()
    let keep = isReusable && spares.count < target
    let spare = spareName(counter)
    if keep { counter += 1 }
    monitor.unlock()
    if keep { try device.rename(name, to: spare) } else { try device.remove(name) }
    try device.syncDirectory()
    monitor.lock()
    if keep { spares.append(spare) }
    wanted = true
    monitor.unlock()
  }

  private func run() {
    while true {
      monitor.lock()
      while !stopping && retiring.isEmpty && (spares.count >= target || !wanted) { monitor.wait() }
      let isOver = stopping
      monitor.unlock()
      if isOver { return }
      do {
        if let next = nextRetired() {
          try retireOne(next.name, next.isReusable)
          continue
        }
      } catch {
        // Going on with the next segment would leave a gap in the log.
        fail(error)
        return
      }
      do {
        let name = try make(filled: true)
        monitor.lock()
        spares.append(name)
        monitor.unlock()
      } catch WALError.noSpace {
        monitor.lock()
        wanted = false
        monitor.unlock()
      } catch {
        fail(error)
        return
      }
    }
  }

  private func fail(_ error: WALError) {
    monitor.lock()
    failure = error
    monitor.unlock()
  }

  private func isStopping() -> Bool {
    monitor.lock()
    defer { monitor.unlock() }
    return stopping
  }

  /// Makes a file of the segment's size under a temporary name. A filled one is durable before it is called a spare;
  /// one that is only reserved keeps its temporary name, so that an unused one is not taken for a spare later.
  private func make(filled: Bool) throws(WALError) -> String {
    monitor.lock()
    let number = counter
    counter += 1
    monitor.unlock()
    let temporary = fillName(number)
    let file = try device.create(temporary)
    do {
      defer { device.close(file) }
      try device.reserve(file, segmentSize)
      if filled { try fill(file) }
      try device.sync(file)
      guard filled else { return temporary }
      try device.rename(temporary, to: spareName(number))
    } catch {
      // Half a segment is of no use, and the disk may be full.
      try? device.remove(temporary)
      throw error
    }
    return spareName(number)
  }

  /// Zeros in pieces, each synced: one large flush at the end would hold up the log's own writes.
  private func fill(_ file: LogFile) throws(WALError) {
    let piece = Int(min(segmentSize, 1 << 20))
    let zeros = UnsafeMutableRawBufferPointer.allocate(byteCount: piece, alignment: blockSize)
    defer { zeros.deallocate() }
    zeros.initializeMemory(as: UInt8.self, repeating: 0)
    var at: UInt64 = 0
    while at < segmentSize && !(background && isStopping()) {
      let count = Int(min(UInt64(piece), segmentSize - at))
      try device.write(file, UnsafeRawBufferPointer(rebasing: zeros.prefix(count)), at: at)
      at += UInt64(count)
      if at % (8 << 20) == 0 { try device.sync(file) }
    }
    if at < segmentSize { throw .closed }
  }
}
