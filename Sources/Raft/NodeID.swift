// Who a message is from or to.

/// A member of the cluster. Zero is nobody.
package typealias NodeID = UInt64
