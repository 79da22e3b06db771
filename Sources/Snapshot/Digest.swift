// SHA-256 by OpenSSL, as something that can be copied midway: a stream that goes on from a point in the middle needs
// the digest's state at that point.

import COpenSSL
import Glibc

/// One digest under way. Used by one thread at a time.
package final class Digest {
  package static let size = 32
  private let context: OpaquePointer

  package init() throws(SnapshotError) {
    guard let context = EVP_MD_CTX_new() else { throw .library("OpenSSL: out of memory") }
    self.context = context
    guard EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1 else { throw .library("OpenSSL: no SHA-256") }
  }

  private init(copying other: Digest) throws(SnapshotError) {
    guard let context = EVP_MD_CTX_new() else { throw .library("OpenSSL: out of memory") }
    self.context = context
    guard EVP_MD_CTX_copy_ex(context, other.context) == 1 else { throw .library("OpenSSL: a digest can't be copied") }
  }

  deinit { EVP_MD_CTX_free(context) }

  package func copy() throws(SnapshotError) -> Digest { try Digest(copying: self) }

  package func update(_ bytes: UnsafeRawBufferPointer) throws(SnapshotError) {
    guard let start = bytes.baseAddress, bytes.count > 0 else { return }
    guard EVP_DigestUpdate(context, start, bytes.count) == 1 else { throw .library("OpenSSL: SHA-256 failed") }
  }

  /// The digest of everything so far; more may follow.
  package func value() throws(SnapshotError) -> [UInt8] {
    let last = try copy()
    var bytes = [UInt8](repeating: 0, count: Digest.size)
    guard EVP_DigestFinal_ex(last.context, &bytes, nil) == 1 else { throw .library("OpenSSL: SHA-256 failed") }
    return bytes
  }
}
