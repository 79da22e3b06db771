import CNeedletail
import CUring

/// How group writes reach a real file. Owned by the log thread.
protocol GroupWriter: AnyObject {
  var name: String { get }
  var maximumInFlight: Int { get }
  func adopt(buffers: [UnsafeMutableRawBufferPointer])
  func begin(_ file: LogFile, _ bytes: UnsafeRawBufferPointer, at offset: UInt64, slot: Int) throws(WALError)
  func take(wait: Bool) throws(WALError) -> WriteCompletion?
  func shutdown()
}

/// pwritev2(RWF_DSYNC): the write is over when `begin` returns. Groups still form, from whatever is proposed meanwhile.
final class SerialGroupWriter: GroupWriter {
  let name = "pwritev2"
  let maximumInFlight = 1
  private let signal: Int32
  private var done: WriteCompletion?

  init(signal: Int32) { self.signal = signal }

  func adopt(buffers: [UnsafeMutableRawBufferPointer]) {}

  func begin(_ file: LogFile, _ bytes: UnsafeRawBufferPointer, at offset: UInt64, slot: Int) throws(WALError) {
    guard let base = bytes.baseAddress else { return }
    done = WriteCompletion(
      slot: slot, result: nt_pwrite_dsync(file.descriptor, base, bytes.count, Int64(clamping: offset)))
    nt_signal_raise(signal)
  }

  func take(wait: Bool) throws(WALError) -> WriteCompletion? {
    defer { done = nil }
    return done
  }

  func shutdown() {}
}

/// io_uring: several durable writes in flight from registered buffers to a registered file. The ring is enabled by
/// the first write, so the thread that issues it is the ring's single issuer, whoever opened the log.
final class RingGroupWriter: GroupWriter {
  let name = "io_uring"
  let maximumInFlight: Int
  private let ring: UnsafeMutablePointer<io_uring>
  private var registered: [UnsafeMutableRawBufferPointer] = []
  /// Name of the file in the ring's slot: nil before the first, and for good when the kernel refuses to register
  /// files. By name: segment names never come back, descriptors do.
  private var registeredFile: String?
  private var registersFiles = true
  private var isEnabled = false
  private var isOpen = true

  init(inFlight: Int, signal: Int32) throws(WALError) {
    maximumInFlight = inFlight
    ring = .allocate(capacity: 1)
    ring.initialize(to: io_uring())
    var code = nt_wal_ring_open(ring, UInt32(inFlight))
    if code == 0 {
      code = io_uring_register_eventfd(ring, signal)
      if code < 0 { io_uring_queue_exit(ring) }
    }
    if code < 0 {
      ring.deallocate()
      isOpen = false
      throw .unavailable(path: "io_uring", code: -code)
    }
  }

  deinit {
    guard isOpen else { return }
    io_uring_queue_exit(ring)
    ring.deallocate()
  }

  func adopt(buffers: [UnsafeMutableRawBufferPointer]) {
    let vectors = buffers.map { iovec(iov_base: $0.baseAddress, iov_len: $0.count) }
    // Refused where the limit of locked memory is small: plain writes do, a little slower.
    if io_uring_register_buffers(ring, vectors, UInt32(vectors.count)) == 0 { registered = buffers }
  }

  func begin(_ file: LogFile, _ bytes: UnsafeRawBufferPointer, at offset: UInt64, slot: Int) throws(WALError) {
    guard let base = bytes.baseAddress, let count = UInt32(exactly: bytes.count) else { return }
    if !isEnabled {
      let code = nt_wal_ring_enable(ring)
      if code < 0 { throw .failed("enabling io_uring for", file.name, -code) }
      isEnabled = true
    }
    useFile(file)
    var buffer: Int32 = -1
    if slot < registered.count, let own = registered[slot].baseAddress, own == base,
      bytes.count <= registered[slot].count
    {
      buffer = Int32(slot)
    }
    let code = nt_wal_ring_write(
      ring, file.descriptor, registeredFile == file.name ? 1 : 0, base, count, offset, buffer, UInt64(slot))
    if code < 0 { throw .failed("write", file.name, -code) }
  }

  /// No write to the previous file is in flight: the log drains before it switches segments.
  private func useFile(_ file: LogFile) {
    guard registersFiles, registeredFile != file.name else { return }
    if nt_wal_ring_use_file(ring, file.descriptor, registeredFile == nil ? 1 : 0) == 0 {
      registeredFile = file.name
    } else {
      registersFiles = false
      registeredFile = nil
    }
  }

  func take(wait: Bool) throws(WALError) -> WriteCompletion? {
    var tag: UInt64 = 0
    var outcome: Int32 = 0
    let code = nt_wal_ring_take(ring, wait ? 1 : 0, &tag, &outcome)
    if code < 0 { throw .failed("waiting for io_uring in", "the log", -code) }
    return code == 0 ? nil : WriteCompletion(slot: Int(truncatingIfNeeded: tag), result: Int(outcome))
  }

  func shutdown() {
    guard isOpen else { return }
    isOpen = false
    io_uring_queue_exit(ring)
    ring.deallocate()
  }
}
