/** What every WebGPU device offers: the default limits of the specification, by their WebGPU names, and the features that texts may use. */

export const wgslLimits = {
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupStorageSize: 16_384,
  maxComputeWorkgroupsPerDimension: 65_535,
  maxStorageBuffersPerShaderStage: 8,
  /** 128 MiB. */
  maxStorageBufferBindingSize: 134_217_728,
  maxBufferSize: 268_435_456,
  minStorageBufferOffsetAlignment: 256,
} as const;

/** WebGPU features that change the text, and the directive that each needs. */
export const wgslFeatures = {
  "shader-f16": "enable f16;",
  subgroups: "enable subgroups;",
} as const;
export type WgslFeature = keyof typeof wgslFeatures;
