// A log's files, and bytes that say what was done to them: fields set, blocks copied, files cut, with or without checksums
// made right again. Opening must end in a log or a typed error, and a log that opens must take entries and keep them.

import FuzzInput
import Glibc

@testable import NeedletailWAL

func attack(_ bytes: UnsafeRawBufferPointer) {
  var input = Input(bytes)
  let device = SimulatedLogDevice()
  let isRaw = input.byte() == 255
  var files = isRaw ? [(name: segmentName(1), bytes: input.rest())] : Files.sound
  if !isRaw {
    let seals = input.byte() & 1 == 0
    while !input.isEmpty { Files.change(&files, &input) }
    if seals { for i in files.indices { Files.seal(&files[i].bytes) } }
  }
  for file in files where !file.bytes.isEmpty {
    guard let handle = try? device.create(file.name) else { continue }
    file.bytes.withUnsafeBytes { try? device.writeDurable(handle, $0, at: 0) }
    device.close(handle)
  }
  try? device.syncDirectory()
  use(device)
}

/// Whatever opens must work.
private func use(_ device: SimulatedLogDevice) {
  var records = 0
  guard let log = try? WAL.open(device: device, options: Files.options, replay: { _ in records += 1 }) else { return }
  let next = log.last.index &+ 1
  guard next > 0, next < 1 << 62 else { return log.close() }
  do {
    try [1, 2, 3].withUnsafeBytes { bytes in _ = try log.append(index: next, term: log.last.term, payload: bytes) }
    let group = try log.submit()
    while log.durable.group < group { try log.reap(wait: true) }
    log.close()
  } catch {
    preconditionFailure("a log that opened failed: \(error)")
  }
  var isThere = false
  do {
    _ = try WAL.open(device: device, options: Files.options) { record in
      if case .entry(let index, _, _) = record { isThere = isThere || index == next }
    }
  } catch {
    preconditionFailure("a log that opened does not open again: \(error)")
  }
  precondition(isThere, "an entry that was durable is gone")
}
