// The pages that no tree reaches, without which no tree would be found: both meta pages and both areas of the bitmap.
//
// Opening looks at those of one checkpoint, and then they are only ever written: damage would show when it is too late.
// Why there is no false alarm: they are written by checkpoints alone, and the checkpoint lock is held while they are read.
// Then no checkpoint is at work, and both slots hold a whole one: the chosen one was checked when the database was opened,
// and opening ends with a checkpoint into the other (`settle`). A failed checkpoint leaves nobody knows what, and latches:
// then nothing is looked at.

extension Scrubber {
  /// Looks at the meta pages and at some groups of bitmap pages. False behind the last.
  func nextOfCheckpoints() -> Bool {
    let isAlone = !mutant(.scrubsBesideCheckpoints)
    if isAlone { database.checkpointLock.lock() }
    defer { if isAlone { database.checkpointLock.unlock() } }
    guard let state = database.checkpointState else { return false }
    let first = group
    group += groupsMax
    var hasMore = false
    for slot in 0...1 where slot == state.slot || !mutant(.scrubsOneCheckpoint) {
      // Numbers go up by one, and the slots take turns.
      let number = slot == state.slot ? state.number : state.number - 1
      guard let meta = meta(slot: slot, number: number, fileSize: state.fileSize) else { continue }
      let pages = Int(meta.pages)
      let groupPages = FreeSpace.groupPages(pageSize: geometry.pageSize)
      for group in first..<max(first, min(group, (pages + groupPages - 1) / groupPages)) {
        let id = FreeSpace.bitmapPage(group: group, area: slot, pageSize: geometry.pageSize)
        // A file's last group may be too short for one.
        if id < pages { check(PageID(id), "bitmap") { self.problem(ofBitmap: PageID(id), meta) } }
      }
      hasMore = hasMore || pages > self.group * groupPages
    }
    return hasMore
  }

  /// The meta page of that slot, which must be the one that was written last; nil where it is not, which is noted.
  private func meta(slot: Int, number: UInt64, fileSize: UInt64) -> Meta? {
    let offset = slot * FreeSpace.metaStride(pageSize: geometry.pageSize)
    var found: Meta?
    check(PageID(offset >> Int(geometry.shift)), "meta") {
      do throws(DatabaseError) {
        let bytes = try self.read(offset: UInt64(offset), count: metaSize)
        do throws(Meta.Problem) {
          let meta = try Meta(decoding: bytes, fileSize: fileSize)
          guard meta.checkpoint == number || mutant(.scrubsStaleMeta), meta.storeID == self.database.storeID else {
            return (.stale, nil)
          }
          found = meta
          return nil
        } catch {
          return (.checksum, nil)
        }
      } catch {
        return (nil, error.description)
      }
    }
    return found
  }

  private func problem(ofBitmap id: PageID, _ meta: Meta) -> Problem? {
    do throws(DatabaseError) {
      let bytes = try read(offset: UInt64(id) << geometry.shift, count: geometry.pageSize)
      let header = PageHeader(bytes)
      guard header.checksum(pageSize: geometry.pageSize) == header.crc else { return (.checksum, nil) }
      guard header.id == id else { return (.identity, nil) }
      guard header.type == PageType.bitmap.rawValue else { return (.kind, nil) }
      return header.transaction <= meta.transaction ? nil : (.transaction, nil)
    } catch {
      return (nil, error.description)
    }
  }

  private func read(offset: UInt64, count: Int) throws(DatabaseError) -> UnsafeRawPointer {
    let bytes = try direct.read(offset: offset, count: count)
    step.pages += 1
    step.bytes += UInt64(count)
    return bytes.baseAddress.unsafelyUnwrapped
  }

  /// As for pages of trees, what is wrong twice is damage.
  private func check(_ id: PageID, _ place: String, _ problem: () -> Problem?) {
    guard let first = problem() else { return }
    direct.forget()
    guard let again = problem() else { return }
    step.damage.append(
      Damage(page: id, reason: again.reason ?? first.reason ?? .checksum, place: place, error: again.error))
  }
}

extension Database {
  /// The durable checkpoint's slot and number, and the file's size; nil where checkpoints have come to an end. Under the
  /// checkpoint lock.
  var checkpointState: (slot: Int, number: UInt64, fileSize: UInt64)? {
    withWriter { writer in
      guard !writer.isClosed, writer.latch == nil else { return nil }
      return (writer.durableSlot, writer.checkpointNumber, UInt64(writer.free.pages) << geometry.shift)
    }
  }
}
