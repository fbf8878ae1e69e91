/** Where a construct's resources go and what they are called: the same four members on every construct. */
export interface PlacementProps {
  readonly resourceGroupName: string;
  readonly location: string;
  /**
   * Name of the main resource. Globally unique for vaults, storage accounts and attestation providers; changing it replaces the resource.
   * @default - a prefix of its kind and a digest of the construct's address
   */
  readonly name?: string;
  /**
   * Azure tags of every resource that takes them.
   * @default - no tags
   */
  readonly tags?: Readonly<Record<string, string>>;
}
