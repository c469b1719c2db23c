// OHIF's configuration for an archive; ARCHIVE is replaced by its DICOMweb base.
window.config = {
  routerBasename: null,
  extensions: [],
  modes: [],
  showStudyList: true,
  maxNumberOfWebWorkers: 2,
  maxNumRequests: { interaction: 100, thumbnail: 75, prefetch: 25 },
  defaultDataSourceName: 'fileroom',
  dataSources: [
    {
      namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
      sourceName: 'fileroom',
      configuration: {
        friendlyName: 'Fileroom',
        name: 'fileroom',
        qidoRoot: 'ARCHIVE',
        wadoRoot: 'ARCHIVE',
        qidoSupportsIncludeField: true,
        supportsReject: true,
        supportsStow: true,
        imageRendering: 'wadors',
        thumbnailRendering: 'thumbnail',
        enableStudyLazyLoad: true,
        supportsFuzzyMatching: true,
        supportsWildcard: true,
        bulkDataURI: { enabled: true },
      },
    },
  ],
};
