// One change as a watcher sees it, and its wire form: etcd's mvccpb.Event, whichever face carries it.
import NeedletailBackend
import NeedletailBytes

/// Pointers into a pinned page or a block of captured changes, and plain numbers.
package struct ChangeEvent {
  package var revision: Revision
  package var isDelete: Bool
  package var key: UnsafeRawBufferPointer
  /// Of a put: the new pair's KeyValue fields 2…6 in wire form.
  package var fields = UnsafeRawBufferPointer(start: nil, count: 0)
  /// The same fields of the pair as the revision before had it; nil where there was none, or where it is compacted.
  package var previous: UnsafeRawBufferPointer?

  package init(revision: Revision, isDelete: Bool, key: UnsafeRawBufferPointer) {
    self.revision = revision
    self.isDelete = isDelete
    self.key = key
  }

  private enum Tag {
    /// Field 11 of a WatchResponse.
    static let event: UInt8 = 11 << 3 | 2
    static let type: UInt8 = 1 << 3
    static let pair: UInt8 = 2 << 3 | 2
    static let previous: UInt8 = 3 << 3 | 2
    static let modRevision: UInt8 = 3 << 3
  }

  /// Appends it as an element of a WatchResponse's `events`. A deletion's pair is its key and its revision.
  package func append(to out: inout OutBuffer, withPrevious: Bool) {
    let pairFields = isDelete ? 1 + varintSize(revision.main) : fields.count
    let before = withPrevious ? previous : nil
    var size = (isDelete ? 2 : 0) + ChangeEvent.size(key: key.count, fields: pairFields)
    if let before { size += ChangeEvent.size(key: key.count, fields: before.count) }
    let start = out.reserve(size + 11)
    var at = writeVarint(UInt64(size), writeByte(Tag.event, start))
    if isDelete {
      at = writeByte(1, writeByte(Tag.type, at))
      at = writeKey(at, tag: Tag.pair, key: key, fieldsSize: pairFields)
      at = writeVarint(revision.main, writeByte(Tag.modRevision, at))
    } else {
      at = writeKeyValue(at, tag: Tag.pair, key: key, fields: fields)
    }
    if let before { at = writeKeyValue(at, tag: Tag.previous, key: key, fields: before) }
    out.advance(at - start)
  }

  private static func size(key: Int, fields: Int) -> Int {
    let pair = 1 + varintSize(UInt64(key)) + key + fields
    return 1 + varintSize(UInt64(pair)) + pair
  }
}
